;; attack: does not end, and spends its time in instructions that are long each
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: evaluate timeout

;;@ evaluate
(loop $ever
  (memory.fill (i32.const 1024) (i32.const 0) (i32.const 0x1ef0000))
  (br $ever))
(call $allow)

;;@ memory
(memory $memory (export "memory") 0x200)
