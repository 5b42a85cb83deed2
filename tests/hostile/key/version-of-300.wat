;; attack: answers a version of its key that has 300 characters
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer
;; says: a key version

;;@ wrap
(memory.fill (i32.const 3000) (i32.const 118) (i32.const 300))
(call $wrapped (call $turned (local.get $dek) (local.get $len)) (local.get $len) (i32.const 3000) (i32.const 300))
