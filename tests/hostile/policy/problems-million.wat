;; attack: `configure` answers with a million problems
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: admission
;; flat: its memory is let go of after every round

;;@ configure
(drop (memory.grow (i32.const 300)))
(i32.store8 (i32.const 64) (i32.const 1))
(i32.store (i32.const 68) (i32.const 131072))
(i32.store (i32.const 72) (i32.const 1000000))
(i32.const 64)
