;; attack: a component that exports nothing
;; row: wrong world, missing export, core module, an import not granted
;; must: admission wrong-world
;; says: exports nothing

(component)
