;; attack: its start function does not end
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: admission configure timeout

;;@ module
(func $start (loop $ever (br $ever)))
(start $start)
