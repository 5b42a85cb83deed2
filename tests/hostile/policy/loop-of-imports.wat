;; attack: does not end, and spends its time in the host
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: evaluate timeout

;;@ evaluate
(loop $ever
  (call $emit (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 0))
  (br $ever))
(call $allow)
