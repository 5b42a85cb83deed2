;; attack: asks a server that the grant does not list, and traps if it was let through
;; row: egress that is not granted
;; must: write ok

;;@ write
(call $send (i32.const 2048) (i32.const 4) (i32.const 3072) (i32.const 24) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 256))
(if (i32.or (i32.ne (i32.load8_u (i32.const 256)) (i32.const 1)) (i32.load8_u (i32.const 264))) (then (unreachable)))
(call $ok)

;;@ module
(data (i32.const 3072) "http://169.254.169.254/x")
