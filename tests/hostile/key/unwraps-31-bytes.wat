;; attack: unwraps all but the last byte
;; row: a bad answer (DESIGN section 8)
;; must: unwrap other 31

;;@ unwrap
(call $opened (call $turned (local.get $ciphertext) (local.get $len)) (i32.const 31))
