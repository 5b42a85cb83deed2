;; attack: logs a message of 128 MiB that it does not have
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate bad-answer
;; flat: its memory is let go of after every round

;;@ evaluate
(call $emit (i32.const 1) (i32.const 65536) (i32.const 0x8000000) (i32.const 0) (i32.const 0))
(call $allow)
