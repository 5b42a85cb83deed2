;; attack: answers an error that the variant does not have
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer

;;@ wrap
(call $refused (i32.const 5) (i32.const 0) (i32.const 0))
