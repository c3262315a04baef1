//! Slow work has its place in prepare.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn freeze(cx: &Freeze) -> Result<()> {
    sql::rotate(cx)
}

fn main() {}
