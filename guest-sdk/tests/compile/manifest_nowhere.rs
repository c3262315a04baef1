//! A manifest that is not there.

stillpoint_sdk::module!("nowhere.toml");

fn main() {}
