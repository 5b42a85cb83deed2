;; attack: answers with a reason whose end lies beyond 32 bits
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate bad-answer

;;@ evaluate
(call $deny (i32.const 1024) (i32.const 2) (i32.const 0xfffffff0) (i32.const 0xfffffff0))

;;@ module
(data (i32.const 1024) "no")
