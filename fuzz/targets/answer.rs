//! See `stillpoint_oracles::answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::answer::check(bytes));
