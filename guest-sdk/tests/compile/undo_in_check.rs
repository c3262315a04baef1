//! Check found it frozen by somebody else: that is reported, and never released.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn check(cx: &Check) -> Result<()> {
    sql::backup_end(cx)
}

fn main() {}
