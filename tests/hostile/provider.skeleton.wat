;; The honest part of a secret provider: world `secret-provider-plugin` of `wit/`; it finds the same secret for every reference. A hostile
;; guest is a file of `provider/` that replaces the marked places; what it leaves out stays as it is here.
;;
;; In its memory: 16..128 answers, 2048.. texts, from 64 KiB on whatever the host hands over and what is answered.
(component
  (import "origan:codec/log@0.1.0" (instance $log
    (type $attribute' (record (field "name" string) (field "value" string)))
    (export "attribute" (type $attribute (eq $attribute')))
    (type $level' (enum "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level')))
    (export "emit" (func (param "level" $level) (param "message" string) (param "fields" (list $attribute))))))

  ;; The guest imports `emit` before it exists: lowering it takes the guest's own memory.
  (core module $shim
    (type $emit (func (param i32 i32 i32 i32 i32)))
    (table (export "later") 1 1 funcref)
    (func (export "emit") (param i32 i32 i32 i32 i32)
      (call_indirect (type $emit)
        (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (i32.const 0))))
  (core instance $shim (instantiate $shim))

  (core module $guest
    (import "host" "emit" (func $emit (param $level i32) (param $at i32) (param $len i32) (param $fields i32) (param $count i32)))
    (global $heap (mut i32) (i32.const 65536))
    ;;[memory
    (memory $memory (export "memory") 2)
    ;;]
    (data (i32.const 2048) "honest1 \0a")

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
    ;; So many answers, each with this value and this version, to be kept not at all. One takes 40 bytes: case, value, version, keep-ms.
    (func $answer (param $count i32) (param $value i32) (param $value-len i32) (param $version i32) (param $version-len i32)
      (result i32) (local $at i32)
      (local.set $at (call $allocate (i32.const 8) (i32.mul (local.get $count) (i32.const 40))))
      (i32.store (i32.const 16) (local.get $at))
      (i32.store (i32.const 20) (local.get $count))
      (block $done
        (loop $next
          (br_if $done (i32.eqz (local.get $count)))
          (i64.store (local.get $at) (i64.const 0))
          (i32.store offset=8 (local.get $at) (local.get $value))
          (i32.store offset=12 (local.get $at) (local.get $value-len))
          (i32.store offset=16 (local.get $at) (local.get $version))
          (i32.store offset=20 (local.get $at) (local.get $version-len))
          (i64.store offset=24 (local.get $at) (i64.const 0))
          (local.set $at (i32.add (local.get $at) (i32.const 40)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next)))
      (i32.const 16))

    (func $realloc (export "cabi_realloc") (param $old i32) (param $old-len i32) (param $align i32) (param $len i32) (result i32)
      ;;[realloc
      (call $allocate (local.get $align) (local.get $len))
      ;;]
    )
    (func $configure (export "configure") (param $json i32) (param $len i32) (result i32)
      ;;[configure
      (i32.store8 (i32.const 64) (i32.const 0))
      (i32.const 64)
      ;;]
    )
    (func $resolve (export "resolve") (param $references i32) (param $count i32) (result i32)
      ;;[resolve
      (call $answer (local.get $count) (i32.const 2048) (i32.const 6) (i32.const 2054) (i32.const 1))
      ;;]
    )
    ;;[module
    ;;]
  )
  (core instance $guest (instantiate $guest (with "host" (instance $shim))))

  (core func $emit (canon lower (func $log "emit") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))
  (core module $fill
    (import "" "later" (table 1 1 funcref))
    (import "" "emit" (func $emit (param i32 i32 i32 i32 i32)))
    (elem (i32.const 0) func $emit))
  (core instance (instantiate $fill (with "" (instance
    (export "later" (table $shim "later")) (export "emit" (func $emit))))))

  (type $problem (record (field "path" string) (field "message" string)))
  (func $configure (param "json" string) (result (result (error (list $problem))))
    (canon lift (core func $guest "configure") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))
  (type $reference (record (field "path" string) (field "field" (option string)) (field "version" (option string))))
  (type $secret (record (field "value" (list u8)) (field "version" string) (field "keep-ms" (option u64))))
  (type $resolve-error (variant
    (case "not-found") (case "denied" string) (case "invalid-reference" string) (case "retry" (option u32))
    (case "unavailable" string)))
  (func $resolve (param "references" (list $reference)) (result (list (result $secret (error $resolve-error))))
    (canon lift (core func $guest "resolve") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))

  (instance $settings (export "problem" (type $problem)) (export "configure" (func $configure)))
  (export "origan:codec/settings@0.1.0" (instance $settings))
  (instance $provider (export "reference" (type $reference)) (export "secret" (type $secret))
    (export "resolve-error" (type $resolve-error)) (export "resolve" (func $resolve)))
  (export "origan:codec/secret-provider@0.1.0" (instance $provider)))
