;; attack: unwraps no bytes
;; row: a bad answer (DESIGN section 8)
;; must: unwrap other 0

;;@ unwrap
(call $opened (local.get $ciphertext) (i32.const 0))
