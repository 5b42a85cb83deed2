;; attack: a policy that imports `clock`
;; row: wrong world, missing export, core module, an import not granted
;; must: admission import-not-granted
;; says: origan:codec/clock@0.1.0

;;@ imports
(import "origan:codec/clock@0.1.0" (instance))
