//! See `stillpoint_oracles::ending`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::ending::check(bytes));
