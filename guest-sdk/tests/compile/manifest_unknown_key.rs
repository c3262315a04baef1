//! A key that the manifest does not have: its line and column.

stillpoint_sdk::module!("unknown_key.toml");

fn main() {}
