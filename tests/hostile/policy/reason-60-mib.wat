;; attack: answers with a reason of 60 MiB that it has
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate host-limit
;; flat: its memory is let go of after every round

;;@ evaluate
(drop (memory.grow (i32.const 990)))
(call $deny (i32.const 1024) (i32.const 2) (i32.const 65536) (i32.const 60000000))

;;@ module
(data (i32.const 1024) "no")
