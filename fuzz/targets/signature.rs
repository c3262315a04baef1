//! See `stillpoint_oracles::signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::signature::check(bytes));
