;; attack: writes a million empty lines to an output that it may not write to
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: write host-limit
;; flat: its memory is let go of after every round

;;@ write
(drop (memory.grow (i32.const 300)))
(call $write-lines (i32.const 2048) (i32.const 1) (i32.const 131072) (i32.const 1000000) (i32.const 256))
(call $ok)
