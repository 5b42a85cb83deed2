;; attack: says of whatever it has wrapped that it does not open
;; row: a bad answer (DESIGN section 8)
;; must: unwrap corrupt

;;@ unwrap
(call $refused (i32.const 2) (i32.const 0) (i32.const 0))
