;; attack: a core module that was not made a component
;; row: wrong world, missing export, core module, an import not granted
;; must: admission core-module

(module (memory (export "memory") 1) (func (export "evaluate") (param i32) (result i32) (i32.const 0)))
