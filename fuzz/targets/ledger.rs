//! See `stillpoint_oracles::ledger`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stillpoint_oracles::ledger::check(bytes));
