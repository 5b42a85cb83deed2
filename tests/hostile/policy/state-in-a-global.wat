;; attack: counts its calls in a global, and allows from the second on
;; row: state kept from one call to the next
;; must: evaluate abstain

;;@ evaluate
(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
(if (result i32) (i32.gt_u (global.get $calls) (i32.const 1)) (then (call $allow)) (else (call $abstain)))

;;@ module
(global $calls (mut i32) (i32.const 0))
