//! Only the host ends a session.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn thaw(cx: &Thaw) -> Result<()> {
    sql::kill(cx, "17")
}

fn main() {}
