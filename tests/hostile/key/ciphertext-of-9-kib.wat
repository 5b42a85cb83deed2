;; attack: answers a ciphertext that is longer than any key service's
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer
;; says: a ciphertext of 9216 bytes

;;@ wrap
(call $wrapped (i32.const 32768) (i32.const 9216) (i32.const 2052) (i32.const 1))
