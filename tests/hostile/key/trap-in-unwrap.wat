;; attack: wraps, and traps when it is to unwrap
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: unwrap trap
;; says: in unwrap

;;@ unwrap
(unreachable)
