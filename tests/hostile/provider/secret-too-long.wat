;; attack: answers a secret of 1 MiB and a byte
;; row: a bad answer (DESIGN section 8)
;; must: resolve bad-answer
;; says: 1048577 bytes

;;@ resolve
(drop (memory.grow (i32.const 32)))
(call $answer (local.get $count) (i32.const 0) (i32.const 1048577) (i32.const 2054) (i32.const 1))
