;; attack: declares a table of ten million entries
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: admission configure out-of-memory

;;@ module
(table $wide 10000000 funcref)
