;; attack: asks a server that never answers
;; row: waiting for ever in a host import
;; must: wrap timeout
;;
;; The settings name the server. The deadline of the call is shorter than that of the request.

;;@ wrap
(call $post (global.get $url) (global.get $url-len) (i32.const 0) (i32.const 0))
(call $wrapped (call $turned (local.get $dek) (local.get $len)) (local.get $len) (i32.const 2052) (i32.const 1))
