;; attack: does not end when it is to wrap
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: wrap timeout
;; says: in wrap

;;@ wrap
(loop $ever (br $ever))
(unreachable)
