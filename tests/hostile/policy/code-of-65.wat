;; attack: denies with a code that has 65 bytes
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(call $deny (i32.const 1024) (i32.const 65) (i32.const 1024) (i32.const 0))

;;@ module
(data (i32.const 1024) "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
