;; Wants an interface of ours with a function that it does not have.
(component
    (import "stillpoint:workload/clock@0.1.0" (instance
        (export "now" (func (param "zone" string) (result string)))))
)
