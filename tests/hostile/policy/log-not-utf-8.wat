;; attack: logs what is not UTF-8
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(call $emit (i32.const 1) (i32.const 1024) (i32.const 2) (i32.const 0) (i32.const 0))
(call $allow)

;;@ module
(data (i32.const 1024) "\ff\fe")
