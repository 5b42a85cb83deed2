;; attack: does not end
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: write timeout

;;@ write
(loop $ever (br $ever))
(call $ok)
