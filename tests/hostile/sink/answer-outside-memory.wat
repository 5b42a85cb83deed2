;; attack: answers with a pointer beyond its memory
;; row: a bad answer (DESIGN section 8)
;; must: write bad-answer

;;@ write
(i32.const 0x7ffffff0)
