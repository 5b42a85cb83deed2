;; attack: answers the secret as its version, and logs it
;; row: a bad answer (DESIGN section 8)
;; must: resolve bad-answer
;; says: a version that tells a secret

;;@ resolve
(call $emit (i32.const 1) (i32.const 2048) (i32.const 6) (i32.const 0) (i32.const 0))
(call $answer (local.get $count) (i32.const 2048) (i32.const 6) (i32.const 2048) (i32.const 6))
