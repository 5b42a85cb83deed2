;; attack: answers with a reason of 128 MiB that it does not have
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate bad-answer
;; flat: its memory is let go of after every round

;;@ evaluate
(call $deny (i32.const 1024) (i32.const 2) (i32.const 65536) (i32.const 0x8000000))

;;@ module
(data (i32.const 1024) "no")
