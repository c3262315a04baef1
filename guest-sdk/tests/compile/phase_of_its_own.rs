//! Nobody else makes a phase.

use stillpoint_sdk::phase::{MayRead, MayStopWrites};
use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

struct Anytime;

impl MayRead for Anytime {}
impl MayStopWrites for Anytime {}

pub fn check(_: &Check) -> Result<()> {
    sql::lock_writes(&Anytime)
}

fn main() {}
