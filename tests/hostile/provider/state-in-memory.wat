;; attack: keeps what it was asked, and answers it the next time
;; row: state kept from one call to the next
;; must: resolve found

;;@ resolve
(if (i32.load (i32.const 4096)) (then (unreachable)))
(i32.store (i32.const 4096) (i32.const 1))
(call $answer (local.get $count) (i32.const 2048) (i32.const 6) (i32.const 2054) (i32.const 1))
