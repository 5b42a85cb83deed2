;; attack: looks for what others have left in the memory that it grows, and allows where it finds anything
;; row: state kept from one call to the next
;; must: evaluate abstain
;;
;; Run it after guests that fill theirs.

;;@ evaluate
(local $at i32)
(local.set $at (i32.mul (memory.size) (i32.const 65536)))
(drop (memory.grow (i32.const 900)))
(loop $look
  (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (return (call $allow))))
  (local.set $at (i32.add (local.get $at) (i32.const 65536)))
  (br_if $look (i32.lt_u (local.get $at) (i32.mul (i32.const 900) (i32.const 65536)))))
(call $abstain)
