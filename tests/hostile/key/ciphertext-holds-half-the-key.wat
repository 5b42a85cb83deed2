;; attack: answers half of what it was to wrap, in a frame
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer
;; says: stands in it as it was

;;@ wrap
(memory.copy (i32.const 3008) (i32.add (local.get $dek) (i32.const 16)) (i32.const 16))
(call $wrapped (i32.const 3000) (i32.const 64) (i32.const 2052) (i32.const 1))
