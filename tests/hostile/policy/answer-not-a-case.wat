;; attack: answers with a case that the variant does not have
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(i32.store8 (i32.const 16) (i32.const 3))
(i32.const 16)
