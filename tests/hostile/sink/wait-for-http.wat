;; attack: asks a server that never answers
;; row: waiting for ever in a host import
;; must: write timeout
;;
;; The settings name the server. The deadline of the call is shorter than that of the request.

;;@ write
(call $post)
(call $ok)
