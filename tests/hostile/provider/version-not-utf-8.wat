;; attack: answers a version that is not UTF-8
;; row: a bad answer (DESIGN section 8)
;; must: resolve bad-answer

;;@ resolve
(i32.store8 (i32.const 3000) (i32.const 255))
(call $answer (local.get $count) (i32.const 2048) (i32.const 6) (i32.const 3000) (i32.const 1))
