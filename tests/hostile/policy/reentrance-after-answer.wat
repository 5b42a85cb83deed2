;; attack: calls an import while it clears up
;; row: a bad answer (DESIGN section 8)
;; must: evaluate trap

;;@ evaluate
(call $allow)

;;@ after
(call $emit (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 0))
