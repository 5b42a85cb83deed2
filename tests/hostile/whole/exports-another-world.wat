;; attack: a component of somebody else's world
;; row: wrong world, missing export, core module, an import not granted
;; must: admission wrong-world
;; says: wasi:http/incoming-handler

(component
  (instance $empty)
  (export "wasi:http/incoming-handler@0.2.0" (instance $empty)))
