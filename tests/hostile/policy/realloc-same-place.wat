;; attack: gives the host the same place for every part of the query
;; row: a bad answer (DESIGN section 8)
;; must: evaluate abstain|bad-answer

;;@ realloc
(i32.const 65536)
