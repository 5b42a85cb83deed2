;; attack: rejects a million records
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: write host-limit
;; flat: its memory is let go of after every round

;;@ write
(drop (memory.grow (i32.const 300)))
(i32.store8 (i32.const 16) (i32.const 1))
(i32.store8 (i32.const 20) (i32.const 1))
(i32.store (i32.const 24) (i32.const 131072))
(i32.store (i32.const 28) (i32.const 1000000))
(i32.const 16)
