;; attack: needs what no flag stands for
;; row: a bad answer (DESIGN section 8)
;; must: evaluate abstain

;;@ needs
(i32.const -1)
