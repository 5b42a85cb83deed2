;; attack: answers what it was to wrap in hexadecimal, as the version of its key
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer
;; says: stands in it as it was

;;@ wrap
(call $wrapped (call $turned (local.get $dek) (local.get $len)) (local.get $len) (call $hexadecimal (local.get $dek) (local.get $len)) (i32.mul (local.get $len) (i32.const 2)))
