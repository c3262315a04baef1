;; Makes its table longer until it is refused, and traps if that is not before a million.
(module
    (type $phase (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (global $free (mut i32) (i32.const 65536))
    (table $table 1 funcref)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
        (global.set $free (i32.add (local.get $at) (local.get 3)))
        local.get $at)
    (func (export "stillpoint:workload/lifecycle@0.1.0#check") (type $phase)
        (loop $more
            (br_if $more (i32.ne (i32.const -1) (table.grow $table (ref.null func) (i32.const 1000)))))
        (if (i32.gt_u (table.size $table) (i32.const 1000000)) (then unreachable))
        i32.const 0)
    ;; Zeros: done, with nothing to say.
    (func $done (type $phase) i32.const 0)
    (export "stillpoint:workload/lifecycle@0.1.0#prepare" (func $done))
    (export "stillpoint:workload/lifecycle@0.1.0#freeze" (func $done))
    (export "stillpoint:workload/lifecycle@0.1.0#thaw" (func $done))
)
