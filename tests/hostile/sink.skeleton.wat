;; The honest part of a sink: world `audit-sink-plugin` of `wit/`; it takes every batch and drops it. A hostile guest is a file of
;; `sink/` that replaces the marked places; what it leaves out stays as it is here.
;;
;; In its memory: 16..128 answers, 256..320 what `http` and `lines` answered, 512.. the settings (`{"url":"…"}`: the URL is at
;; `$url`, `$url-len` long), 2048.. texts, from 64 KiB on whatever the host hands over.
(component
  (import "origan:codec/log@0.1.0" (instance $log
    (type $attribute' (record (field "name" string) (field "value" string)))
    (export "attribute" (type $attribute (eq $attribute')))
    (type $level' (enum "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level')))
    (export "emit" (func (param "level" $level) (param "message" string) (param "fields" (list $attribute))))))
  (import "origan:codec/clock@0.1.0" (instance $clock (export "now" (func (result u64)))))
  (import "origan:codec/lines@0.1.0" (instance $lines
    (type $write-error' (variant
      (case "not-granted" string) (case "unavailable" string) (case "too-long" u64) (case "malformed" u64)))
    (export "write-error" (type $write-error (eq $write-error')))
    (export "write" (func (param "output" string) (param "lines" (list string)) (result (result (error $write-error)))))))
  (import "origan:codec/http@0.1.0" (instance $http
    (type $header' (record (field "name" string) (field "value" string)))
    (export "header" (type $header (eq $header')))
    (type $request' (record
      (field "method" string) (field "url" string) (field "headers" (list $header)) (field "body" (list u8))
      (field "credential" (option string))))
    (export "request" (type $request (eq $request')))
    (type $response' (record (field "status" u16) (field "headers" (list $header)) (field "body" (list u8))))
    (export "response" (type $response (eq $response')))
    (type $send-error' (variant
      (case "not-granted" string) (case "invalid-request" string) (case "connect" string) (case "tls" string)
      (case "timeout") (case "too-large" u64) (case "protocol" string)))
    (export "send-error" (type $send-error (eq $send-error')))
    (export "send" (func (param "request" $request) (result (result $response (error $send-error)))))))

  ;; The guest imports these before they exist: lowering them takes the guest's own memory.
  (core module $shim
    (type $emit (func (param i32 i32 i32 i32 i32)))
    (type $write (func (param i32 i32 i32 i32 i32)))
    (type $send (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (table (export "later") 3 3 funcref)
    (func (export "emit") (param i32 i32 i32 i32 i32)
      (call_indirect (type $emit)
        (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (i32.const 0)))
    (func (export "write-lines") (param i32 i32 i32 i32 i32)
      (call_indirect (type $write)
        (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (i32.const 1)))
    (func (export "send") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
      (call_indirect (type $send)
        (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
        (local.get 6) (local.get 7) (local.get 8) (local.get 9) (local.get 10) (local.get 11) (i32.const 2))))
  (core instance $shim (instantiate $shim))
  (core func $now (canon lower (func $clock "now")))
  (core instance $host
    (export "emit" (func $shim "emit")) (export "write-lines" (func $shim "write-lines"))
    (export "send" (func $shim "send")) (export "now" (func $now)))

  (core module $guest
    (import "host" "emit" (func $emit (param $level i32) (param $at i32) (param $len i32) (param $fields i32) (param $count i32)))
    (import "host" "write-lines" (func $write-lines
      (param $output i32) (param $output-len i32) (param $lines i32) (param $count i32) (param $answer i32)))
    (import "host" "send" (func $send
      (param $method i32) (param $method-len i32) (param $url i32) (param $url-len i32) (param $headers i32) (param $count i32)
      (param $body i32) (param $body-len i32) (param $has-credential i32) (param $credential i32) (param $credential-len i32)
      (param $answer i32)))
    (import "host" "now" (func $now (result i64)))
    (global $heap (mut i32) (i32.const 65536))
    (global $url (mut i32) (i32.const 0))
    (global $url-len (mut i32) (i32.const 0))
    ;;[memory
    (memory $memory (export "memory") 2)
    ;;]
    (data (i32.const 2048) "POSTsilent")

    (func $ok (result i32)
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.const 16))
    ;; Asks the URL of the settings, without headers, body or credential.
    (func $post
      (call $send
        (i32.const 2048) (i32.const 4) (global.get $url) (global.get $url-len) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 256)))
    (func $allocate (param $align i32) (param $len i32) (result i32) (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $heap (i32.add (local.get $at) (local.get $len)))
      (block $fits
        (loop $grow
          (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
          (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (unreachable))
      (local.get $at))
    (func $settle (param $json i32) (param $len i32)
      (if (i32.gt_u (local.get $len) (i32.const 1024)) (then (unreachable)))
      (memory.copy (i32.const 512) (local.get $json) (local.get $len))
      (if (i32.gt_u (local.get $len) (i32.const 10)) (then
        (global.set $url (i32.const 520))
        (global.set $url-len (i32.sub (local.get $len) (i32.const 10))))))

    (func $realloc (export "cabi_realloc") (param $old i32) (param $old-len i32) (param $align i32) (param $len i32) (result i32)
      ;;[realloc
      (call $allocate (local.get $align) (local.get $len))
      ;;]
    )
    (func $configure (export "configure") (param $json i32) (param $len i32) (result i32)
      (call $settle (local.get $json) (local.get $len))
      ;;[configure
      (i32.store8 (i32.const 64) (i32.const 0))
      (i32.const 64)
      ;;]
    )
    (func $write (export "write") (param $batch i32) (param $count i32) (result i32)
      ;;[write
      (call $ok)
      ;;]
    )
    (func $after (export "after") (param $answer i32)
      ;;[after
      (global.set $heap (i32.const 65536))
      ;;]
    )
    ;;[module
    ;;]
  )
  (core instance $guest (instantiate $guest (with "host" (instance $host))))

  (core func $emit (canon lower (func $log "emit") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))
  (core func $write-lines (canon lower (func $lines "write") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))
  (core func $send (canon lower (func $http "send") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))
  (core module $fill
    (import "" "later" (table 3 3 funcref))
    (import "" "emit" (func $emit (param i32 i32 i32 i32 i32)))
    (import "" "write-lines" (func $write-lines (param i32 i32 i32 i32 i32)))
    (import "" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (elem (i32.const 0) func $emit $write-lines $send))
  (core instance (instantiate $fill (with "" (instance
    (export "later" (table $shim "later")) (export "emit" (func $emit)) (export "write-lines" (func $write-lines))
    (export "send" (func $send))))))

  (type $problem (record (field "path" string) (field "message" string)))
  (func $configure (param "json" string) (result (result (error (list $problem))))
    (canon lift (core func $guest "configure") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))
  (type $entry (record
    (field "chain" string) (field "seq" u64) (field "time" u64) (field "line" string) (field "hash" string)))
  (type $write-error (variant (case "retry" (option u32)) (case "rejected" (list (tuple u64 string)))))
  (func $write (param "batch" (list $entry)) (result (result (error $write-error)))
    (canon lift (core func $guest "write") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))
      (post-return (func $guest "after"))))

  (instance $settings (export "problem" (type $problem)) (export "configure" (func $configure)))
  (export "origan:codec/settings@0.1.0" (instance $settings))
  (instance $sink (export "entry" (type $entry)) (export "write-error" (type $write-error)) (export "write" (func $write)))
  (export "origan:codec/audit-sink@0.1.0" (instance $sink)))
