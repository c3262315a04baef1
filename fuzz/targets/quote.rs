//! See `stillpoint_oracles::quote`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::quote::check(bytes));
