;; attack: denies with a code that is in upper case
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(call $deny (i32.const 1024) (i32.const 7) (i32.const 1024) (i32.const 0))

;;@ module
(data (i32.const 1024) "Too-Old")
