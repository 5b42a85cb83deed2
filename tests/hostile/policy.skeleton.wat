;; The honest part of a policy: world `policy-plugin` of `wit/`, with no memory of its own between decisions and nothing against
;; anybody. A hostile guest is a file of `policy/` that replaces the marked places; what it leaves out stays as it is here.
;;
;; In its memory: 16..128 the answer, 1024.. texts, from 64 KiB on whatever the host hands over.
(component
  (import "origan:codec/log@0.1.0" (instance $log
    (type $attribute' (record (field "name" string) (field "value" string)))
    (export "attribute" (type $attribute (eq $attribute')))
    (type $level' (enum "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level')))
    (export "emit" (func (param "level" $level) (param "message" string) (param "fields" (list $attribute))))))
  ;;[imports
  ;;]

  ;; The guest imports `emit` before it exists: lowering it takes the guest's own memory.
  (core module $shim
    (type $emit (func (param i32 i32 i32 i32 i32)))
    (type $again (func (result i32)))
    (table (export "later") 2 2 funcref)
    (func (export "emit") (param i32 i32 i32 i32 i32)
      (call_indirect (type $emit)
        (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (i32.const 0)))
    (func (export "again") (result i32) (call_indirect (type $again) (i32.const 1))))
  (core instance $shim (instantiate $shim))
  ;;[before
  ;;]

  (core module $guest
    ;;[core-imports
    ;;]
    (import "host" "emit" (func $emit (param $level i32) (param $at i32) (param $len i32) (param $fields i32) (param $count i32)))
    (import "host" "again" (func $again (result i32)))
    (global $heap (mut i32) (i32.const 65536))
    ;;[memory
    (memory $memory (export "memory") 2)
    ;;]

    (func $allow (result i32)
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.const 16))
    (func $deny (param $code i32) (param $code-len i32) (param $reason i32) (param $reason-len i32) (result i32)
      (i32.store8 (i32.const 16) (i32.const 1))
      (i32.store (i32.const 20) (local.get $code))
      (i32.store (i32.const 24) (local.get $code-len))
      (i32.store (i32.const 28) (local.get $reason))
      (i32.store (i32.const 32) (local.get $reason-len))
      (i32.const 16))
    (func $abstain (result i32)
      (i32.store8 (i32.const 16) (i32.const 2))
      (i32.const 16))
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
    (func $needs (export "needs") (result i32)
      ;;[needs
      (i32.const 0)
      ;;]
    )
    (func $evaluate (export "evaluate") (param $query i32) (result i32)
      ;;[evaluate
      (call $abstain)
      ;;]
    )
    (func $after (export "after") (param $answer i32)
      ;;[after
      ;;]
    )
    ;;[module
    ;;]
  )
  (core instance $guest (instantiate $guest (with "host" (instance $shim))
    ;;[with
    ;;]
  ))

  (core func $emit (canon lower (func $log "emit") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))
  (alias export $log "attribute" (type $attribute))

  (type $problem (record (field "path" string) (field "message" string)))
  (func $configure (param "json" string) (result (result (error (list $problem))))
    (canon lift (core func $guest "configure") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))))

  (type $lookups (flags "deployment" "variables"))
  (type $caller (record (field "name" string) (field "method" string) (field "attributes" (list $attribute))))
  (type $known (record
    (field "id" string) (field "project-id" string) (field "created" u64) (field "attributes" (list $attribute))))
  (type $deployment (variant (case "none") (case "unknown" string) (case "known" $known)))
  (type $variable (record
    (field "name" string) (field "kind" string) (field "key-version" (option u32)) (field "size-bytes" u32)
    (field "provider" (option string)) (field "reference" (option string))))
  (type $query (record
    (field "request-id" string) (field "action" string) (field "time" u64) (field "caller" $caller)
    (field "project-id" (option string)) (field "deployment" $deployment) (field "variables" (list $variable))
    (field "attributes" (list $attribute))))
  (type $denial (record (field "code" string) (field "reason" string)))
  (type $decision (variant (case "allow") (case "deny" $denial) (case "abstain")))
  (func $needs (result $lookups) (canon lift (core func $guest "needs")))
  (func $evaluate (param "query" $query) (result $decision)
    (canon lift (core func $guest "evaluate") (memory $guest "memory") (realloc (func $guest "cabi_realloc"))
      (post-return (func $guest "after"))))

  ;;[later
  (alias core export $guest "needs" (core func $again))
  ;;]
  (core module $fill
    (import "" "later" (table 2 2 funcref))
    (import "" "emit" (func $emit (param i32 i32 i32 i32 i32)))
    (import "" "again" (func $again (result i32)))
    (elem (i32.const 0) func $emit $again))
  (core instance (instantiate $fill (with "" (instance
    (export "later" (table $shim "later")) (export "emit" (func $emit)) (export "again" (func $again))))))

  (instance $settings (export "problem" (type $problem)) (export "configure" (func $configure)))
  (export "origan:codec/settings@0.1.0" (instance $settings))
  (instance $policy
    (export "lookups" (type $lookups)) (export "caller" (type $caller)) (export "known-deployment" (type $known))
    (export "deployment" (type $deployment)) (export "variable" (type $variable)) (export "query" (type $query))
    (export "denial" (type $denial)) (export "decision" (type $decision))
    (export "needs" (func $needs)) (export "evaluate" (func $evaluate)))
  (export "origan:codec/policy@0.1.0" (instance $policy)))
