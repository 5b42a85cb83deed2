;; attack: declares 4 GiB from the beginning
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: admission configure out-of-memory

;;@ memory
(memory $memory (export "memory") 65536)
