;; attack: grows until it is refused, then traps
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: wrap out-of-memory
;; flat: its memory is let go of after every call

;;@ wrap
(loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
(unreachable)
