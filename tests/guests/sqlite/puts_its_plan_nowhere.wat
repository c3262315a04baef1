;; Says that the plan is to be put outside of its memory.
(module
    (type $phase (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (global $free (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        i32.const -8)
    (func (export "stillpoint:workload/lifecycle@0.1.0#check") (type $phase)
        i32.const 0)
    ;; Zeros: done, with nothing to say.
    (func $done (type $phase) i32.const 0)
    (export "stillpoint:workload/lifecycle@0.1.0#prepare" (func $done))
    (export "stillpoint:workload/lifecycle@0.1.0#freeze" (func $done))
    (export "stillpoint:workload/lifecycle@0.1.0#thaw" (func $done))
)
