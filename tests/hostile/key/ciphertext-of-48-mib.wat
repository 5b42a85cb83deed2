;; attack: answers a ciphertext of 48 MiB, more than it may hand over
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: wrap host-limit
;; flat: its memory is let go of after every call

;;@ wrap
(drop (memory.grow (i32.const 800)))
(call $wrapped (i32.const 0) (i32.const 50331648) (i32.const 2052) (i32.const 1))
