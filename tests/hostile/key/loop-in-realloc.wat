;; attack: does not end while the host hands over the context
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: wrap timeout

;;@ realloc
(if (i32.eq (local.get $align) (i32.const 4)) (then (loop $ever (br $ever))))
(call $allocate (local.get $align) (local.get $len))
