;; attack: calls an import while the host hands over the query
;; row: a bad answer (DESIGN section 8)
;; must: evaluate trap

;;@ realloc
(if (i32.ne (global.get $heap) (i32.const 65536)) (then
  (call $emit (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 0))))
(call $allocate (local.get $align) (local.get $len))
