;; attack: a policy that imports `log` of another version
;; row: wrong world, missing export, core module, an import not granted
;; must: admission import-not-granted
;; says: origan:codec/log@0.2.0

;;@ imports
(import "origan:codec/log@0.2.0" (instance))
