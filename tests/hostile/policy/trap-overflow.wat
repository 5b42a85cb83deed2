;; attack: divides the smallest number by -1
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap
;; says: overflow

;;@ evaluate
(i32.div_s (i32.const 0x80000000) (i32.const -1))
