;; attack: takes one batch, traps at the next, and so on
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: write ok|trap

;;@ write
(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
(if (i32.gt_u (global.get $calls) (i32.const 1)) (then (unreachable)))
(call $ok)

;;@ module
(global $calls (mut i32) (i32.const 0))
