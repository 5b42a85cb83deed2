;; attack: denies with the longest code there is: an honest control
;; row: a bad answer (DESIGN section 8)
;; must: evaluate deny aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa

;;@ evaluate
(call $deny (i32.const 1024) (i32.const 64) (i32.const 1024) (i32.const 0))

;;@ module
(data (i32.const 1024) "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
