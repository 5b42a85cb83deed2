;; attack: answers with case 255
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(i32.store8 (i32.const 16) (i32.const 255))
(i32.const 16)
