;; attack: logs a million lines in one decision
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate timeout|abstain
;; flat: its memory is let go of after every round

;;@ evaluate
(local $left i32)
(local.set $left (i32.const 1000000))
(loop $line
  (call $emit (i32.const 3) (i32.const 1024) (i32.const 64) (i32.const 0) (i32.const 0))
  (br_if $line (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
(call $abstain)
