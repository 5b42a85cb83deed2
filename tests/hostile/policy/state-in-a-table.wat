;; attack: leaves a mark in a table, and allows where it finds it
;; row: state kept from one call to the next
;; must: evaluate abstain

;;@ evaluate
(if (result i32) (ref.is_null (table.get $marks (i32.const 0)))
  (then (table.set $marks (i32.const 0) (ref.func $evaluate)) (call $abstain))
  (else (call $allow)))

;;@ module
(table $marks 1 funcref)
(elem declare func $evaluate)
