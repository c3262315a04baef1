//! Check freezes nothing, be it ever so harmless.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn check(cx: &Check) -> Result<()> {
    sql::backup_start(cx)
}

fn main() {}
