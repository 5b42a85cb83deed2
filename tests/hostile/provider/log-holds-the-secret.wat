;; attack: logs the secret, as a line, as the name of a field and as its value, and answers as if nothing were the matter
;; row: a bad answer (DESIGN section 8)
;; must: resolve found
;;
;; The calls are good; what must come of the lines is that none is written.

;;@ resolve
(call $emit (i32.const 1) (i32.const 2048) (i32.const 6) (i32.const 0) (i32.const 0))
(i32.store (i32.const 3000) (i32.const 2048))
(i32.store (i32.const 3004) (i32.const 6))
(i32.store (i32.const 3008) (i32.const 2054))
(i32.store (i32.const 3012) (i32.const 1))
(call $emit (i32.const 3) (i32.const 2054) (i32.const 1) (i32.const 3000) (i32.const 1))
(i32.store (i32.const 3000) (i32.const 2054))
(i32.store (i32.const 3004) (i32.const 1))
(i32.store (i32.const 3008) (i32.const 2048))
(i32.store (i32.const 3012) (i32.const 6))
(call $emit (i32.const 3) (i32.const 2054) (i32.const 1) (i32.const 3000) (i32.const 1))
(call $answer (local.get $count) (i32.const 2048) (i32.const 6) (i32.const 2054) (i32.const 1))
