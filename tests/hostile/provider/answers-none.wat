;; attack: answers nothing to what it is asked
;; row: a bad answer (DESIGN section 8)
;; must: resolve bad-answer
;; says: 0 results

;;@ resolve
(call $answer (i32.const 0) (i32.const 2048) (i32.const 6) (i32.const 2054) (i32.const 1))
