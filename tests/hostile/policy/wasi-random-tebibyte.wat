;; attack: asks WASI for 2^40 random bytes
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate trap|bad-answer|out-of-memory|host-limit
;; flat: its memory is let go of after every round
;; wasi: true, or it is not admitted at all

;;@ evaluate
(call $random (i64.const 0x10000000000) (i32.const 0))
(call $allow)

;;@ imports
(import "wasi:random/random@0.2.0" (instance $random (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))

;;@ before
(core module $space (memory (export "memory") 1) (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16)))
(core instance $space (instantiate $space))
(core func $bytes (canon lower (func $random "get-random-bytes") (memory $space "memory") (realloc (func $space "realloc"))))
(core instance $wasi (export "random" (func $bytes)))

;;@ core-imports
(import "wasi" "random" (func $random (param i64 i32)))

;;@ with
(with "wasi" (instance $wasi))
