;; attack: a policy that imports a function that `log` does not have
;; row: wrong world, missing export, core module, an import not granted
;; must: admission compile
;; says: read-all

;;@ imports
(import "origan:codec/log@0.1.1" (instance (export "read-all" (func (result string)))))
