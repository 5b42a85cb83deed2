;; attack: traps at the second call that it sees
;; row: state kept from one call to the next
;; must: resolve found

;;@ resolve
(if (global.get $seen) (then (unreachable)))
(global.set $seen (i32.const 1))
(call $answer (local.get $count) (i32.const 2048) (i32.const 6) (i32.const 2054) (i32.const 1))

;;@ module
(global $seen (mut i32) (i32.const 0))
