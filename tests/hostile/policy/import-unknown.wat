;; attack: a policy that imports what nobody knows
;; row: wrong world, missing export, core module, an import not granted
;; must: admission import-not-granted
;; says: acme:keys/ring@1.0.0

;;@ imports
(import "acme:keys/ring@1.0.0" (instance (export "dek" (func (result (list u8))))))
