;; attack: traps at the second call that it sees
;; row: state kept from one call to the next
;; must: unwrap opened

;;@ wrap
(if (global.get $seen) (then (unreachable)))
(global.set $seen (i32.const 1))
(call $wrapped (call $turned (local.get $dek) (local.get $len)) (local.get $len) (i32.const 2052) (i32.const 1))

;;@ unwrap
(if (global.get $seen) (then (unreachable)))
(global.set $seen (i32.const 1))
(call $opened (call $turned (local.get $ciphertext) (local.get $len)) (local.get $len))

;;@ module
(global $seen (mut i32) (i32.const 0))
