;; attack: does not end while the host hands over the query
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: evaluate timeout
;;
;; The first call is for the settings.

;;@ realloc
(if (i32.ne (global.get $heap) (i32.const 65536)) (then (loop $ever (br $ever))))
(call $allocate (local.get $align) (local.get $len))
