;; attack: answers what it was to wrap, as it is
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer
;; says: stands in it as it was

;;@ wrap
(call $wrapped (local.get $dek) (local.get $len) (i32.const 2052) (i32.const 1))
