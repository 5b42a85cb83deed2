;; attack: answers with a reason that is not UTF-8
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(call $deny (i32.const 1024) (i32.const 2) (i32.const 1026) (i32.const 4))

;;@ module
(data (i32.const 1024) "no\ff\fe\c0\80")
