;; attack: logs escape sequences, line feeds and a line that looks like the host's own
;; row: memory to 4 GiB; table growth; 128 MiB string returned or passed to an import; 10^6 list entries; log flood
;; must: evaluate abstain

;;@ evaluate
(call $emit (i32.const 3) (i32.const 1024) (i32.const 52) (i32.const 0) (i32.const 0))
(call $abstain)

;;@ module
(data (i32.const 1024) "\1b[2J\1b]0;owned\07\0a2026-01-01T00:00:00Z ERROR codec: key ")
