//! What stops writes waits for freeze.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn prepare(cx: &Prepare) -> Result<()> {
    sql::lock_writes(cx)
}

fn main() {}
