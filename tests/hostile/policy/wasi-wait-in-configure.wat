;; attack: sleeps for 500 years in `configure`, by way of WASI
;; row: waiting for ever in a host import
;; must: admission configure timeout|compile-timeout
;; wasi: true, or it is not admitted at all

;;@ configure
(call $block (call $subscribe (i64.const 0x7fffffffffffffff)))
(unreachable)

;;@ imports
(import "wasi:io/poll@0.2.0" (instance $poll
  (export "pollable" (type $pollable (sub resource)))
  (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
(alias export $poll "pollable" (type $pollable))
(import "wasi:clocks/monotonic-clock@0.2.0" (instance $monotonic
  (alias outer 1 $pollable (type $pollable))
  (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))

;;@ before
(core func $subscribe (canon lower (func $monotonic "subscribe-duration")))
(core func $block (canon lower (func $poll "[method]pollable.block")))
(core instance $wasi (export "subscribe" (func $subscribe)) (export "block" (func $block)))

;;@ core-imports
(import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))
(import "wasi" "block" (func $block (param i32)))

;;@ with
(with "wasi" (instance $wasi))
