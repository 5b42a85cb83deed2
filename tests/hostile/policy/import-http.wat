;; attack: a policy that imports `http`
;; row: wrong world, missing export, core module, an import not granted
;; must: admission import-not-granted
;; says: origan:codec/http@0.1.0

;;@ imports
(import "origan:codec/http@0.1.0" (instance))
