;; attack: answers what it was to wrap in base64, but for the last two bytes
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer
;; says: stands in it as it was

;;@ wrap
(call $wrapped (call $base64 (local.get $dek) (local.get $len)) (i32.const 40) (i32.const 2052) (i32.const 1))

;;@ module
(func $base64 (param $from i32) (param $len i32) (result i32) (local $at i32) (local $to i32) (local $bits i32)
  (local.set $at (call $allocate (i32.const 1) (i32.mul (local.get $len) (i32.const 2))))
  (local.set $to (local.get $at))
  (loop $next
    (local.set $bits (i32.or
      (i32.or (i32.shl (i32.load8_u (local.get $from)) (i32.const 16)) (i32.shl (i32.load8_u offset=1 (local.get $from)) (i32.const 8)))
      (i32.load8_u offset=2 (local.get $from))))
    (i32.store8 (local.get $to) (i32.load8_u offset=4096 (i32.shr_u (local.get $bits) (i32.const 18))))
    (i32.store8 offset=1 (local.get $to) (i32.load8_u offset=4096 (i32.and (i32.shr_u (local.get $bits) (i32.const 12)) (i32.const 63))))
    (i32.store8 offset=2 (local.get $to) (i32.load8_u offset=4096 (i32.and (i32.shr_u (local.get $bits) (i32.const 6)) (i32.const 63))))
    (i32.store8 offset=3 (local.get $to) (i32.load8_u offset=4096 (i32.and (local.get $bits) (i32.const 63))))
    (local.set $from (i32.add (local.get $from) (i32.const 3)))
    (local.set $to (i32.add (local.get $to) (i32.const 4)))
    (local.set $len (i32.sub (local.get $len) (i32.const 3)))
    (br_if $next (i32.ge_s (local.get $len) (i32.const 3))))
  (local.get $at))
(data (i32.const 4096) "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
