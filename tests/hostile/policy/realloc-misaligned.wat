;; attack: gives the host a place for the query that is not aligned
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ realloc
(if (result i32) (i32.eq (global.get $heap) (i32.const 65536))
  (then (call $allocate (local.get $align) (local.get $len)))
  (else (i32.add (i32.const 1) (call $allocate (local.get $align) (i32.add (i32.const 8) (local.get $len))))))
