;; attack: a policy that imports the environment
;; row: wrong world, missing export, core module, an import not granted
;; must: admission import-not-granted
;; says: wasi:cli/environment@0.2.6

;;@ imports
(import "wasi:cli/environment@0.2.6" (instance (export "get-environment" (func (result (list (tuple string string)))))))
