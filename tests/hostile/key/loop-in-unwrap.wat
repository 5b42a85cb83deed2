;; attack: wraps, and does not end when it is to unwrap
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: unwrap timeout
;; says: in unwrap

;;@ unwrap
(loop $ever (br $ever))
(unreachable)
