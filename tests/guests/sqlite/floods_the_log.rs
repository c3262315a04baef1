//! Writes a hundred thousand lines while writers wait.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        let line = "x".repeat(100_000);
        for _ in 0..100_000 {
            log::info(&line);
        }
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
