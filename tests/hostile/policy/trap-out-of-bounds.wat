;; attack: reads at 4 GiB - 4
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap
;; says: out of bounds

;;@ evaluate
(i32.load (i32.const 0xfffffffc))
