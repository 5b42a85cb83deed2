;; attack: grows a table by 4 billion entries and uses it
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate out-of-memory

;;@ evaluate
(drop (table.grow $wide (ref.null func) (i32.const -1)))
(table.set $wide (i32.const 0xfffffff) (ref.null func))
(call $allow)

;;@ module
(table $wide 1 funcref)
