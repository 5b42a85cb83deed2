;; attack: answers, and does not end while it clears up
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: evaluate timeout

;;@ evaluate
(call $allow)

;;@ after
(loop $ever (br $ever))
