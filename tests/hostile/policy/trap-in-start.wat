;; attack: its start function traps
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: admission configure trap

;;@ module
(func $start (unreachable))
(start $start)
