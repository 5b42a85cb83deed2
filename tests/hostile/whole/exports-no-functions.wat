;; attack: a policy whose interfaces are empty
;; row: wrong world, missing export, core module, an import not granted
;; must: admission compile

(component
  (instance $empty)
  (export "origan:codec/policy@0.1.0" (instance $empty))
  (export "origan:codec/settings@0.1.0" (instance $empty)))
