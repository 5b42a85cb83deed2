;; attack: logs a line with a million fields
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate host-limit
;; flat: its memory is let go of after every round

;;@ evaluate
(drop (memory.grow (i32.const 300)))
(call $emit (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 65536) (i32.const 1000000))
(call $allow)
