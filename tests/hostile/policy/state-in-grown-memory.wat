;; attack: leaves a mark in memory that it has grown, and allows where it finds it
;; row: state kept from one call to the next
;; must: evaluate abstain

;;@ evaluate
(drop (memory.grow (i32.const 16)))
(if (result i32) (i32.load (i32.const 1000000))
  (then (call $allow))
  (else (i32.store (i32.const 1000000) (i32.const 1)) (call $abstain)))
