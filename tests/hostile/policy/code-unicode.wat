;; attack: denies with a code that holds a letter that only looks like `a`
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(call $deny (i32.const 1024) (i32.const 7) (i32.const 1024) (i32.const 0))

;;@ module
(data (i32.const 1024) "\d0\b0ccess")
