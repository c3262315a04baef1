//! The snapshot is cut: nothing written then is in it.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn thaw(cx: &Thaw) -> Result<()> {
    sql::write_out(cx)
}

fn main() {}
