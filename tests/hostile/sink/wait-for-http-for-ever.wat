;; attack: asks a server that never answers, again and again
;; row: waiting for ever in a host import
;; must: write timeout

;;@ write
(loop $ever (call $post) (br $ever))
(call $ok)
