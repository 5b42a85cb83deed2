;; attack: fills all the memory that it may have in `configure`, so that the snapshot holds it
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate abstain
;; flat: its memory is let go of after every round

;;@ configure
(drop (memory.grow (i32.sub (i32.const 1000) (memory.size))))
(memory.fill (i32.const 131072) (i32.const 1) (i32.const 65000000))
(i32.store8 (i32.const 64) (i32.const 0))
(i32.const 64)
