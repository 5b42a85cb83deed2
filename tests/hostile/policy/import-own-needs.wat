;; attack: a policy that imports its own interface
;; row: wrong world, missing export, core module, an import not granted
;; must: admission import-not-granted
;; says: origan:codec/policy@0.1.0

;;@ imports
(import "origan:codec/policy@0.1.0" (instance))
