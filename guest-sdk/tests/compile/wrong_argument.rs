//! Text where the manifest declares an integer.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn check(cx: &Check) -> Result<()> {
    sql::lock_wait(cx, "5; DROP TABLE accounts")
}

fn main() {}
