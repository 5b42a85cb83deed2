;; attack: answers with a case that the variant does not have
;; row: a bad answer (DESIGN section 8)
;; must: write bad-answer

;;@ write
(i32.store8 (i32.const 16) (i32.const 9))
(i32.const 16)
