;; attack: `needs` does not end
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: admission configure timeout

;;@ needs
(loop $ever (br $ever))
(i32.const 0)
