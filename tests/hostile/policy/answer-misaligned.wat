;; attack: answers with a pointer that is not aligned
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(i32.store8 (i32.const 17) (i32.const 0))
(i32.const 17)
