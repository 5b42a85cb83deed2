;; attack: answers a version of its key that would be two lines of a log
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer
;; says: a key version

;;@ wrap
(call $wrapped (call $turned (local.get $dek) (local.get $len)) (local.get $len) (i32.const 3000) (i32.const 3))

;;@ module
(data (i32.const 3000) "1\0a2")
