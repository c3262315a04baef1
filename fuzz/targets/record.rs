//! See `stillpoint_oracles::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::record::check(bytes));
