//! Without the argument that the manifest declares.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn check(cx: &Check) -> Result<()> {
    sql::lock_wait(cx)
}

fn main() {}
