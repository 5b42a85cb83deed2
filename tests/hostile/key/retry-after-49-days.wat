;; attack: wants to be asked again in 2^32 - 1 ms
;; row: a bad answer (DESIGN section 8)
;; must: wrap retry

;;@ wrap
(i32.store8 (i32.const 24) (i32.const 1))
(i32.store (i32.const 28) (i32.const -1))
(i32.store8 (i32.const 16) (i32.const 1))
(i32.store8 (i32.const 20) (i32.const 3))
(i32.const 16)
