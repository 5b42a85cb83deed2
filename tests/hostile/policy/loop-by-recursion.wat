;; attack: calls itself for as long as the stack goes, again and again
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: evaluate timeout

;;@ evaluate
(call $twice (i32.const 60))

;;@ module
(func $twice (param i32) (result i32)
  (if (result i32) (i32.eqz (local.get 0))
    (then (i32.const 1))
    (else (i32.add
      (call $twice (i32.sub (local.get 0) (i32.const 1)))
      (call $twice (i32.sub (local.get 0) (i32.const 1)))))))
