;; attack: answers with a pointer whose answer would end beyond its memory
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(i32.const 131068)
