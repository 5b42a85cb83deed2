;; attack: answers a secret of 48 MiB, more than it may hand over
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: resolve host-limit
;; flat: its memory is let go of after every call

;;@ resolve
(drop (memory.grow (i32.const 800)))
(call $answer (local.get $count) (i32.const 0) (i32.const 50331648) (i32.const 2054) (i32.const 1))
