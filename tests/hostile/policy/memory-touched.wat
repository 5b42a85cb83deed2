;; attack: grows to all that it may have, writes to every page of it, and answers
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate abstain
;; flat: its memory is let go of after every round

;;@ evaluate
(local $page i32)
(drop (memory.grow (i32.sub (i32.const 1000) (memory.size))))
(local.set $page (i32.const 128))
(loop $touch
  (i32.store (i32.mul (local.get $page) (i32.const 4096)) (i32.const -1))
  (local.set $page (i32.add (local.get $page) (i32.const 1)))
  (br_if $touch (i32.lt_u (local.get $page) (i32.const 16000))))
(call $abstain)
