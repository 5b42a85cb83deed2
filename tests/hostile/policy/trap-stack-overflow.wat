;; attack: recurses without an end
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap
;; says: stack

;;@ evaluate
(call $deeper (i32.const 0))

;;@ module
(func $deeper (param i32) (result i32)
  (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))
