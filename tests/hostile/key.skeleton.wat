;; The honest part of a key provider: world `key-provider-plugin` of `wit/`; it turns some bits of each byte over, and back again. A hostile
;; guest is a file of `key/` that replaces the marked places; what it leaves out stays as it is here.
;;
;; In its memory: 16..128 answers, 256..320 what `http` answered, 512.. the settings (`{"url":"…"}`: the URL is at `$url`, `$url-len`
;; long), 2048.. texts, from 64 KiB on whatever the host hands over and what is answered.
(component
  (import "origan:codec/log@0.1.0" (instance $log
    (type $attribute' (record (field "name" string) (field "value" string)))
    (export "attribute" (type $attribute (eq $attribute')))))
  (import "origan:codec/clock@0.1.0" (instance $clock (export "now" (func (result u64)))))
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

  ;; The guest imports this before it exists: lowering it takes the guest's own memory.
  (core module $shim
    (type $send (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (table (export "later") 1 1 funcref)
    (func (export "send") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
      (call_indirect (type $send)
        (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
        (local.get 6) (local.get 7) (local.get 8) (local.get 9) (local.get 10) (local.get 11) (i32.const 0))))
  (core instance $shim (instantiate $shim))
  (core func $now (canon lower (func $clock "now")))
  (core instance $host (export "send" (func $shim "send")) (export "now" (func $now)))

  (core module $guest
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
    (data (i32.const 2048) "POST1")
    (data (i32.const 2064) "0123456789abcdef")

    ;; Wrapped: this ciphertext, under this version of the key.
    (func $wrapped (param $at i32) (param $len i32) (param $version i32) (param $version-len i32) (result i32)
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (local.get $at))
      (i32.store (i32.const 24) (local.get $len))
      (i32.store (i32.const 28) (local.get $version))
      (i32.store (i32.const 32) (local.get $version-len))
      (i32.const 16))
    ;; Unwrapped: these bytes.
    (func $opened (param $at i32) (param $len i32) (result i32)
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (local.get $at))
      (i32.store (i32.const 24) (local.get $len))
      (i32.const 16))
    ;; An error: its case (0 denied, 1 unknown-key, 2 corrupt, 3 retry, 4 unavailable), and its text.
    (func $refused (param $case i32) (param $text i32) (param $len i32) (result i32)
      (i32.store8 (i32.const 16) (i32.const 1))
      (i32.store8 (i32.const 20) (local.get $case))
      (i32.store (i32.const 24) (local.get $text))
      (i32.store (i32.const 28) (local.get $len))
      (i32.const 16))
    ;; The bytes with some of their bits turned over: what is wrapped here, and unwrapped.
    (func $turned (param $from i32) (param $len i32) (result i32) (local $at i32) (local $place i32)
      (local.set $at (call $allocate (i32.const 1) (local.get $len)))
      (block $done
        (loop $next
          (br_if $done (i32.ge_u (local.get $place) (local.get $len)))
          (i32.store8 (i32.add (local.get $at) (local.get $place))
            (i32.xor (i32.load8_u (i32.add (local.get $from) (local.get $place))) (i32.const 0x5a)))
          (local.set $place (i32.add (local.get $place) (i32.const 1)))
          (br $next)))
      (local.get $at))
    ;; The bytes in hexadecimal, twice as long.
    (func $hexadecimal (param $from i32) (param $len i32) (result i32) (local $at i32) (local $place i32) (local $byte i32)
      (local.set $at (call $allocate (i32.const 1) (i32.mul (local.get $len) (i32.const 2))))
      (block $done
        (loop $next
          (br_if $done (i32.ge_u (local.get $place) (local.get $len)))
          (local.set $byte (i32.load8_u (i32.add (local.get $from) (local.get $place))))
          (i32.store16 (i32.add (local.get $at) (i32.mul (local.get $place) (i32.const 2)))
            (i32.or
              (i32.load8_u offset=2064 (i32.shr_u (local.get $byte) (i32.const 4)))
              (i32.shl (i32.load8_u offset=2064 (i32.and (local.get $byte) (i32.const 15))) (i32.const 8))))
          (local.set $place (i32.add (local.get $place) (i32.const 1)))
          (br $next)))
      (local.get $at))
    ;; Sends a body to a URL, without headers or credential.
    (func $post (param $url i32) (param $url-len i32) (param $body i32) (param $len i32)
      (call $send
        (i32.const 2048) (i32.const 4) (local.get $url) (local.get $url-len) (i32.const 0) (i32.const 0) (local.get $body)
        (local.get $len) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 256)))
    ;; Traps unless `http` has answered `not-granted`.
    (func $must-be-refused
      (if (i32.or (i32.ne (i32.load8_u (i32.const 256)) (i32.const 1)) (i32.load8_u (i32.const 264))) (then (unreachable))))
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
    (func $wrap (export "wrap") (param $dek i32) (param $len i32) (param $context i32) (param $count i32) (result i32)
      ;;[wrap
      (call $wrapped (call $turned (local.get $dek) (local.get $len)) (local.get $len) (i32.const 2052) (i32.const 1))
      ;;]
    )
    (func $unwrap (export "unwrap") (param $ciphertext i32) (param $len i32) (param $version i32) (param $version-len i32)
      (param $context i32) (param $count i32) (result i32)
      ;;[unwrap
      (call $opened (call $turned (local.get $ciphertext) (local.get $len)) (local.get $len))
      ;;]
    )
    ;;[module
    ;;]
  )
  (core instance $guest (instantiate $guest (with "host" (instance $host))))

  (core func $send (canon lower (func $http "send") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))
  (core module $fill
    (import "" "later" (table 1 1 funcref))
    (import "" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (elem (i32.const 0) func $send))
  (core instance (instantiate $fill (with "" (instance
    (export "later" (table $shim "later")) (export "send" (func $send))))))

  (alias export $log "attribute" (type $attribute))
  (type $problem (record (field "path" string) (field "message" string)))
  (func $configure (param "json" string) (result (result (error (list $problem))))
    (canon lift (core func $guest "configure") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))
  (type $wrapped (record (field "ciphertext" (list u8)) (field "key-version" string)))
  (type $key-error (variant
    (case "denied" string) (case "unknown-key" string) (case "corrupt") (case "retry" (option u32)) (case "unavailable" string)))
  (func $wrap (param "dek" (list u8)) (param "context" (list $attribute)) (result (result $wrapped (error $key-error)))
    (canon lift (core func $guest "wrap") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))
  (func $unwrap (param "wrapped" $wrapped) (param "context" (list $attribute)) (result (result (list u8) (error $key-error)))
    (canon lift (core func $guest "unwrap") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))

  (instance $settings (export "problem" (type $problem)) (export "configure" (func $configure)))
  (export "origan:codec/settings@0.1.0" (instance $settings))
  (instance $keys (export "wrapped" (type $wrapped)) (export "key-error" (type $key-error))
    (export "wrap" (func $wrap)) (export "unwrap" (func $unwrap)))
  (export "origan:codec/key-provider@0.1.0" (instance $keys)))
