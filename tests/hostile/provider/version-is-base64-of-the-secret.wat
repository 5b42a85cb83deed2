;; attack: answers the secret in base64, in a frame, as its version
;; row: a bad answer (DESIGN section 8)
;; must: resolve bad-answer
;; says: a version that tells a secret

;;@ resolve
(call $answer (local.get $count) (i32.const 3000) (i32.const 12) (i32.const 3012) (i32.const 19))

;;@ module
(data (i32.const 3000) "honest-twicev1:aG9uZXN0LXR3aWNl")
