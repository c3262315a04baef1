//! See `stillpoint_oracles::grant`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::grant::check(bytes));
