;; attack: `configure` does not end
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: admission configure timeout

;;@ configure
(loop $ever (br $ever))
(unreachable)
