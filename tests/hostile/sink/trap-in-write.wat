;; attack: traps
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: write trap
;; says: in write

;;@ write
(unreachable)
