;; attack: answers an error that would clear the operator's terminal
;; row: a bad answer (DESIGN section 8)
;; must: wrap denied
;; says: \u{1b}[2J

;;@ wrap
(call $refused (i32.const 0) (i32.const 3000) (i32.const 8))

;;@ module
(data (i32.const 3000) "\1b[2Jno\0a\07")
