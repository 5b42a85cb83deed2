;; attack: does not end
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: resolve timeout
;; says: in resolve

;;@ resolve
(loop $ever (br $ever))
(unreachable)
