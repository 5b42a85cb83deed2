;; attack: rejects the first record, a thousand times over
;; row: a bad answer (DESIGN section 8)
;; must: write rejected 1

;;@ write
(local $at i32)
(i32.store8 (i32.const 16) (i32.const 1))
(i32.store8 (i32.const 20) (i32.const 1))
(i32.store (i32.const 24) (i32.const 98304))
(i32.store (i32.const 28) (i32.const 1000))
(local.set $at (i32.const 98304))
(loop $next
  (i64.store (local.get $at) (i64.const 1))
  (local.set $at (i32.add (local.get $at) (i32.const 16)))
  (br_if $next (i32.lt_u (local.get $at) (i32.const 114304))))
(i32.const 16)
