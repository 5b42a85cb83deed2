;; attack: a sink where a policy is wanted
;; row: wrong world, missing export, core module, an import not granted
;; must: admission wrong-world

(component
  (instance $empty)
  (export "origan:codec/audit-sink@0.1.0" (instance $empty))
  (export "origan:codec/settings@0.1.0" (instance $empty)))
