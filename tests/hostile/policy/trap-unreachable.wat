;; attack: reaches `unreachable`
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap
;; says: in evaluate

;;@ evaluate
(unreachable)
