;; attack: answers a million times, outside of its memory
;; row: a bad answer (DESIGN section 8)
;; must: resolve bad-answer

;;@ resolve
(i32.store (i32.const 16) (i32.const 65536))
(i32.store (i32.const 20) (i32.const 1000000))
(i32.const 16)
