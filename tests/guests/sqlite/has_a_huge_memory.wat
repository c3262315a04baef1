;; Begins with four gibibytes.
(component
    (core module $m (memory 65536))
    (core instance (instantiate $m))
)
