;; attack: traps when it is to wrap
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: wrap trap
;; says: in wrap

;;@ wrap
(unreachable)
