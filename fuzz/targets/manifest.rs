//! See `stillpoint_oracles::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::manifest::check(bytes));
