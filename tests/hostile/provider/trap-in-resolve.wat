;; attack: traps
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: resolve trap
;; says: in resolve

;;@ resolve
(unreachable)
