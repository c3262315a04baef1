//! See `stillpoint_oracles::login`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::login::check(bytes));
