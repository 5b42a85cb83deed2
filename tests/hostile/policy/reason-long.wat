;; attack: answers with a reason of 60,000 bytes, all of them bells
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate deny no

;;@ evaluate
(memory.fill (i32.const 65536) (i32.const 7) (i32.const 60000))
(call $deny (i32.const 1024) (i32.const 2) (i32.const 65536) (i32.const 60000))

;;@ module
(data (i32.const 1024) "no")
