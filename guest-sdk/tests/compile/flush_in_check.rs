//! Check has nothing written.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn check(cx: &Check) -> Result<()> {
    sql::write_out(cx)
}

fn main() {}
