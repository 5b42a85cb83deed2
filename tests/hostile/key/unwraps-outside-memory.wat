;; attack: unwraps bytes that begin where its memory ends
;; row: a bad answer (DESIGN section 8)
;; must: unwrap bad-answer

;;@ unwrap
(call $opened (i32.const 131071) (i32.const 64))
