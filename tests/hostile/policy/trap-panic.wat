;; attack: says why and gives up, as a panic of Rust does
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap
;; says: evaluate

;;@ evaluate
(call $emit (i32.const 3) (i32.const 1024) (i32.const 23) (i32.const 0) (i32.const 0))
(unreachable)

;;@ module
(data (i32.const 1024) "panicked at src/lib.rs:")
