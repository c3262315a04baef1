;; Offers phases that take nothing and give nothing.
(component
    (core module $module (func (export "phase")))
    (core instance $core (instantiate $module))
    (func $phase (canon lift (core func $core "phase")))
    (instance $lifecycle
        (export "check" (func $phase))
        (export "prepare" (func $phase))
        (export "freeze" (func $phase))
        (export "thaw" (func $phase)))
    (export "stillpoint:workload/lifecycle@0.1.0" (instance $lifecycle))
)
