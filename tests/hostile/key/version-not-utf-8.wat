;; attack: answers a version of its key that is not UTF-8
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer

;;@ wrap
(i32.store8 (i32.const 3000) (i32.const 255))
(call $wrapped (call $turned (local.get $dek) (local.get $len)) (local.get $len) (i32.const 3000) (i32.const 1))
