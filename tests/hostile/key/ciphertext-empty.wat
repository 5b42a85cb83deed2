;; attack: answers a ciphertext of no bytes
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer
;; says: a ciphertext of 0 bytes

;;@ wrap
(call $wrapped (local.get $dek) (i32.const 0) (i32.const 2052) (i32.const 1))
