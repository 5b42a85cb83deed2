;; attack: answers a ciphertext that begins where its memory ends
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer

;;@ wrap
(call $wrapped (i32.const 131071) (i32.const 64) (i32.const 2052) (i32.const 1))
