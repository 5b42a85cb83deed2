;; attack: a policy of a version that this host does not speak
;; row: wrong world, missing export, core module, an import not granted
;; must: admission wrong-world
;; says: origan:codec/policy@0.2.0

(component
  (instance $empty)
  (export "origan:codec/policy@0.2.0" (instance $empty))
  (export "origan:codec/settings@0.2.0" (instance $empty)))
