;; attack: does not end while the host hands over the settings
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: admission configure timeout

;;@ realloc
(loop $ever (br $ever))
(unreachable)
