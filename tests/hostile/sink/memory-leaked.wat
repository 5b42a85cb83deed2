;; attack: keeps 8 MiB of every batch, until it has no more
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: write ok|out-of-memory
;; flat: its memory is let go of after every round

;;@ write
(if (i32.eq (memory.grow (i32.const 128)) (i32.const -1)) (then (unreachable)))
(memory.fill (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8388608)) (i32.const 1) (i32.const 8388608))
(call $ok)
