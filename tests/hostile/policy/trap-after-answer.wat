;; attack: answers, and traps while it clears up
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap

;;@ evaluate
(call $allow)

;;@ after
(unreachable)
