;; attack: logs at a level that there is not
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(call $emit (i32.const 77) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 0))
(call $allow)
