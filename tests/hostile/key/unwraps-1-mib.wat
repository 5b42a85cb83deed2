;; attack: unwraps a MiB
;; row: a bad answer (DESIGN section 8)
;; must: unwrap other 1048576

;;@ unwrap
(drop (memory.grow (i32.const 32)))
(call $opened (i32.const 0) (i32.const 1048576))
