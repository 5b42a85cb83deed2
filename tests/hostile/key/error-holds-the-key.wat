;; attack: answers an error whose text is what it was to wrap, in hexadecimal
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer
;; says: an error that tells

;;@ wrap
(call $refused (i32.const 0) (call $hexadecimal (local.get $dek) (local.get $len)) (i32.mul (local.get $len) (i32.const 2)))
