;; attack: does not end, and asks for the time all the while
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: write timeout

;;@ write
(loop $ever (drop (call $now)) (br $ever))
(call $ok)
