;; attack: takes its settings at one time, and refuses them at the next
;; row: a bad answer (DESIGN section 8)
;; must: wrap bad-answer|unwrap bad-answer
;; says: refused settings that it had taken
;;
;; By the clock: at an odd time it refuses. That of the test says how often it was asked; by a real one anything may come of it.

;;@ configure
(i32.store8 (i32.const 64) (i32.wrap_i64 (i64.and (call $now) (i64.const 1))))
(i64.store (i32.const 68) (i64.const 0))
(i32.const 64)
