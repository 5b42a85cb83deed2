;; attack: unwraps 32 bytes that nobody gave it
;; row: a bad answer (DESIGN section 8)
;; must: unwrap other 32

;;@ unwrap
(call $opened (local.get $ciphertext) (i32.const 32))
