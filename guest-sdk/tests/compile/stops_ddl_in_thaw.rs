//! Thaw takes back, and freezes nothing.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn thaw(cx: &Thaw) -> Result<()> {
    sql::lock_schema(cx)
}

fn main() {}
