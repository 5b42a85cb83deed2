;; attack: denies with a code that holds an escape sequence
;; row: a bad answer (DESIGN section 8)
;; must: evaluate bad-answer

;;@ evaluate
(call $deny (i32.const 1024) (i32.const 8) (i32.const 1024) (i32.const 0))

;;@ module
(data (i32.const 1024) "\1b[31mold")
