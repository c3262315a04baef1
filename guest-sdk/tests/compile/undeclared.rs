//! A statement that the manifest does not declare.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

pub fn prepare(cx: &Prepare) -> Result<()> {
    sql::drop_everything(cx)
}

fn main() {}
