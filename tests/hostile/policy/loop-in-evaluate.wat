;; attack: does not end
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: evaluate timeout

;;@ evaluate
(loop $ever (br $ever))
(call $allow)
