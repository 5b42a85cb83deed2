;; attack: answers a secret that begins where its memory ends
;; row: a bad answer (DESIGN section 8)
;; must: resolve bad-answer

;;@ resolve
(call $answer (local.get $count) (i32.const 131071) (i32.const 64) (i32.const 2054) (i32.const 1))
