//! See `stillpoint_oracles::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::config::check(bytes));
