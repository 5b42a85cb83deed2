;; attack: writes just beyond its memory, through an offset that overflows 32 bits
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap
;; says: out of bounds

;;@ evaluate
(i64.store offset=0xffffffff (i32.const 0xffffffff) (i64.const -1))
(call $allow)
