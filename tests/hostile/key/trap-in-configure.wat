;; attack: `configure` traps
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: admission configure trap
;; says: in configure

;;@ configure
(unreachable)
