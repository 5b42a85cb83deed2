;; attack: asks a server during `configure`, and traps if it was let through
;; row: egress that is not granted
;; must: unwrap opened

;;@ configure
(call $post (global.get $url) (global.get $url-len) (i32.const 0) (i32.const 0))
(call $must-be-refused)
(i32.store8 (i32.const 64) (i32.const 0))
(i32.const 64)
