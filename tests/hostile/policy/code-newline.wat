;; attack: denies with a code that holds a line feed
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(call $deny (i32.const 1024) (i32.const 16) (i32.const 1024) (i32.const 0))

;;@ module
(data (i32.const 1024) "old\0aX-Injected: 1")
