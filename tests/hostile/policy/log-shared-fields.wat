;; attack: logs a line whose 1,000 fields are all the same 60 KiB of its memory
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate host-limit
;; flat: its memory is let go of after every round

;;@ evaluate
(local $at i32)
(local.set $at (i32.const 65536))
(loop $field
  (i32.store (local.get $at) (i32.const 0))
  (i32.store offset=4 (local.get $at) (i32.const 60000))
  (i32.store offset=8 (local.get $at) (i32.const 0))
  (i32.store offset=12 (local.get $at) (i32.const 60000))
  (local.set $at (i32.add (local.get $at) (i32.const 16)))
  (br_if $field (i32.lt_u (local.get $at) (i32.const 81536))))
(call $emit (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 65536) (i32.const 1000))
(call $allow)
