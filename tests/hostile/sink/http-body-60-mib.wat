;; attack: asks with a body of 60 MiB
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: write host-limit
;; flat: its memory is let go of after every round

;;@ write
(drop (memory.grow (i32.const 990)))
(call $send (i32.const 2048) (i32.const 4) (i32.const 2048) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 65536) (i32.const 60000000) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 256))
(call $ok)
