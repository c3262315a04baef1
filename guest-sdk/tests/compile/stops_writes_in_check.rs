//! What stops writes waits for freeze.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn check(cx: &Check) -> Result<()> {
    sql::lock_writes(cx)
}

fn main() {}
