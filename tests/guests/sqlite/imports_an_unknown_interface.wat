;; Wants an interface of ours that does not exist.
(component
    (import "stillpoint:workload/secrets@0.1.0" (instance
        (export "credential" (func (result string)))))
)
