;; attack: counts its calls in memory, and allows from the second on
;; row: state kept from one call to the next
;; must: evaluate abstain

;;@ evaluate
(i32.store (i32.const 1024) (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
(if (result i32) (i32.gt_u (i32.load (i32.const 1024)) (i32.const 1)) (then (call $allow)) (else (call $abstain)))
