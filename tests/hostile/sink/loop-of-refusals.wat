;; attack: asks for an output that it may not write to, for ever
;; row: endless loop: in a call, in `configure`, in a start function, in `cabi_realloc`
;; must: write timeout

;;@ write
(loop $ever
  (call $write-lines (i32.const 2048) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 256))
  (br $ever))
(call $ok)
