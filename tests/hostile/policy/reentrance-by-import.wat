;; attack: calls its own export from within, by way of the host
;; row: a bad answer (DESIGN section 8)
;; must: evaluate trap
;;
;; A component may not be entered while it is at work. The component holds an adapter, so it cannot be snapshotted.

;;@ later
(core func $again (canon lower (func $needs)))

;;@ evaluate
(drop (call $again))
(call $allow)
