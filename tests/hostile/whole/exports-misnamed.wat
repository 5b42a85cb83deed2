;; attack: a policy whose version is a path
;; row: wrong world, missing export, core module, an import not granted
;; must: admission wrong-world

(component
  (instance $empty)
  (export "origan:codec/policy" (instance $empty))
  (export "origan:codec/settings" (instance $empty)))
