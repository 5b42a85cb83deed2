;; attack: asks WASI for the time and for randomness, and allows unless both stand still
;; row: state kept from one call to the next
;; must: evaluate abstain
;; wasi: true, or it is not admitted at all
;;
;; A policy is a function of its query, whatever its toolchain brings along.

;;@ evaluate
(if (result i32) (i32.wrap_i64 (i64.or (call $random) (call $now))) (then (call $allow)) (else (call $abstain)))

;;@ imports
(import "wasi:random/random@0.2.0" (instance $random (export "get-random-u64" (func (result u64)))))
(import "wasi:clocks/monotonic-clock@0.2.0" (instance $monotonic (export "now" (func (result u64)))))

;;@ before
(core func $random-u64 (canon lower (func $random "get-random-u64")))
(core func $now (canon lower (func $monotonic "now")))
(core instance $wasi (export "random" (func $random-u64)) (export "now" (func $now)))

;;@ core-imports
(import "wasi" "random" (func $random (result i64)))
(import "wasi" "now" (func $now (result i64)))

;;@ with
(with "wasi" (instance $wasi))
