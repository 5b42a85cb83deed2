;; attack: asks a server during `configure`, and traps if it was let through
;; row: egress that is not granted
;; must: write ok
;;
;; Of the imports only `log` answers meanwhile: the error must be `not-granted`.

;;@ configure
(call $post)
(if (i32.or (i32.ne (i32.load8_u (i32.const 256)) (i32.const 1)) (i32.load8_u (i32.const 264))) (then (unreachable)))
(i32.store8 (i32.const 64) (i32.const 0))
(i32.const 64)
