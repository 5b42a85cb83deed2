;; attack: gives the host a place for the query beyond its memory
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ realloc
(if (result i32) (i32.eq (global.get $heap) (i32.const 65536))
  (then (call $allocate (local.get $align) (local.get $len)))
  (else (i32.const 0x7ffffff0)))
