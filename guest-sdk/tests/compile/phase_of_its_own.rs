//! Nobody else makes a phase.

use stillpoint_sdk::phase::MayRead;

struct Anytime;

impl MayRead for Anytime {}

fn main() {}
