//! A manifest that contradicts itself: everything at once.

stillpoint_sdk::module!("contradiction.toml");

fn main() {}
