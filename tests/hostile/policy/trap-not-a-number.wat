;; attack: converts NaN to an integer
;; row: trap, divide by zero, out of bounds, stack overflow, panic
;; must: evaluate trap
;; says: conversion

;;@ evaluate
(i32.trunc_f64_s (f64.const nan))
