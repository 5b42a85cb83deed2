;; attack: calls what its table does not hold
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap
;; says: uninitialized element

;;@ evaluate
(call_indirect $empty (result i32) (i32.const 3))

;;@ module
(table $empty 4 funcref)
