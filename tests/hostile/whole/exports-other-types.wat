;; attack: a policy whose `evaluate` takes and answers something else
;; row: wrong world, missing export, core module, an import not granted
;; must: admission configure bad-answer

(component
  (core module $guest (func (export "needs") (result i32) (i32.const 0)) (func (export "evaluate") (param i32) (result i32) (i32.const 0)))
  (core instance $guest (instantiate $guest))
  (func $configure (param "json" u32) (result u32) (canon lift (core func $guest "evaluate")))
  (func $needs (result u32) (canon lift (core func $guest "needs")))
  (func $evaluate (param "query" u32) (result u32) (canon lift (core func $guest "evaluate")))
  (instance $settings (export "configure" (func $configure)))
  (export "origan:codec/settings@0.1.0" (instance $settings))
  (instance $policy (export "needs" (func $needs)) (export "evaluate" (func $evaluate)))
  (export "origan:codec/policy@0.1.0" (instance $policy)))
