;; attack: a policy without `settings`
;; row: wrong world, missing export, core module, an import not granted
;; must: admission wrong-world
;; says: settings

(component
  (instance $empty)
  (export "origan:codec/policy@0.1.0" (instance $empty)))
