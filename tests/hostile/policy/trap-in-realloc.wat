;; attack: traps while the host hands over the query
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap
;;
;; The first call is for the settings.

;;@ realloc
(if (i32.ne (global.get $heap) (i32.const 65536)) (then (unreachable)))
(call $allocate (local.get $align) (local.get $len))
