;; attack: takes handles of WASI until it gets no more
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate trap|bad-answer|timeout
;; flat: its memory is let go of after every round
;; wasi: true, or it is not admitted at all

;;@ evaluate
(loop $more (drop (call $subscribe (i64.const 1))) (br $more))
(call $allow)

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
