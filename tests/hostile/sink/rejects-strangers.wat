;; attack: rejects a record that it was not given
;; row: a bad answer (DESIGN section 8)
;; must: write bad-answer

;;@ write
(i32.store8 (i32.const 16) (i32.const 1))
(i32.store8 (i32.const 20) (i32.const 1))
(i32.store (i32.const 24) (i32.const 1024))
(i32.store (i32.const 28) (i32.const 1))
(i64.store (i32.const 1024) (i64.const -1))
(i32.const 16)
