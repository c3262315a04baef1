//! Calls itself until there is no stack left, while writers wait.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    black_box([depth; 64]);
    deeper(depth + 1) + 1
}

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        black_box(deeper(0));
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
