//! See `stillpoint_oracles::signers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::signers::check(bytes));
