;; attack: writes to an output that it may not write to, and traps if it was let through
;; row: egress that is not granted
;; must: write ok

;;@ write
(i32.store (i32.const 1024) (i32.const 2048))
(i32.store (i32.const 1028) (i32.const 4))
(call $write-lines (i32.const 3072) (i32.const 15) (i32.const 1024) (i32.const 1) (i32.const 256))
(if (i32.or (i32.ne (i32.load8_u (i32.const 256)) (i32.const 1)) (i32.load8_u (i32.const 264))) (then (unreachable)))
(call $ok)

;;@ module
(data (i32.const 3072) "../journal/0001")
