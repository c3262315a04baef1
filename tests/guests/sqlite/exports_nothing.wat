;; Offers none of the phases.
(component
    (core module $module)
    (core instance (instantiate $module))
)
