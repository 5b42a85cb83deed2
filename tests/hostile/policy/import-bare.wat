;; attack: a policy that imports a bare function
;; row: wrong world, missing export, core module, an import not granted
;; must: admission import-not-granted
;; says: system

;;@ imports
(import "system" (func (param "command" string)))
