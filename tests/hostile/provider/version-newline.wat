;; attack: answers a version that would be two lines of a log
;; row: a bad answer (DESIGN section 8)
;; must: resolve bad-answer
;; says: a version

;;@ resolve
(call $answer (local.get $count) (i32.const 2048) (i32.const 6) (i32.const 2054) (i32.const 3))
