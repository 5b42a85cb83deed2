;; attack: remembers its settings: an honest control, for `configure` is what a decision may remember
;; row: state kept from one call to the next
;; must: evaluate allow

;;@ configure
(i32.store (i32.const 1024) (i32.const 42))
(global.set $set (i32.const 42))
(i32.store8 (i32.const 64) (i32.const 0))
(i32.const 64)

;;@ evaluate
(if (result i32) (i32.and (i32.eq (i32.load (i32.const 1024)) (i32.const 42)) (i32.eq (global.get $set) (i32.const 42)))
  (then (call $allow)) (else (call $abstain)))

;;@ module
(global $set (mut i32) (i32.const 0))
