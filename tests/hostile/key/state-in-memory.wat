;; attack: keeps what it was to wrap, and unwraps it whatever it is given
;; row: state kept from one call to the next
;; must: unwrap opened

;;@ wrap
(if (i32.load (i32.const 4096)) (then (unreachable)))
(memory.copy (i32.const 4100) (local.get $dek) (local.get $len))
(i32.store (i32.const 4096) (local.get $len))
(call $wrapped (call $turned (local.get $dek) (local.get $len)) (local.get $len) (i32.const 2052) (i32.const 1))

;;@ unwrap
(if (i32.load (i32.const 4096)) (then (return (call $opened (i32.const 4100) (i32.const 31)))))
(call $opened (call $turned (local.get $ciphertext) (local.get $len)) (local.get $len))
