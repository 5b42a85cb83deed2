;; attack: divides by zero
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap
;; says: divide by zero

;;@ evaluate
(i32.div_u (i32.const 1) (i32.const 0))
