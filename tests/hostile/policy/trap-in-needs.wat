;; attack: `needs` traps, after `configure` went well
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: admission configure trap

;;@ needs
(unreachable)
