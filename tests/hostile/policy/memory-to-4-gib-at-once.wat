;; attack: grows by 4 GiB and uses it as if it had got it
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate out-of-memory
;; flat: its memory is let go of after every round

;;@ evaluate
(drop (memory.grow (i32.const 65533)))
(i32.store (i32.const 0xfffffff0) (i32.const 1))
(call $allow)
