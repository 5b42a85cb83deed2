;; attack: answers an error whose text has 48 MiB
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: wrap host-limit
;; flat: its memory is let go of after every call

;;@ wrap
(drop (memory.grow (i32.const 800)))
(call $refused (i32.const 4) (i32.const 0) (i32.const 50331648))
