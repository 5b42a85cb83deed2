;; attack: writes to a peer that never reads, until no more goes out
;; row: waiting for ever in a host import
;; must: write timeout
;;
;; The output `silent` is that peer.

;;@ memory
(memory $memory (export "memory") 0x30)

;;@ write
(i32.store (i32.const 1024) (i32.const 262144))
(i32.store (i32.const 1028) (i32.const 1000000))
(memory.fill (i32.const 262144) (i32.const 0x61) (i32.const 1000000))
(loop $ever
  (call $write-lines (i32.const 2052) (i32.const 6) (i32.const 1024) (i32.const 1) (i32.const 256))
  (br $ever))
(call $ok)
