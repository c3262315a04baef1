//! See `stillpoint_oracles::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::message::check(bytes));
