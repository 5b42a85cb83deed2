;; attack: logs a line whose number of fields times their size overflows 32 bits
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate bad-answer

;;@ evaluate
(call $emit (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 65536) (i32.const 0x10000001))
(call $allow)
