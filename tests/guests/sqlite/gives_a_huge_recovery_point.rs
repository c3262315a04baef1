//! Gives a recovery point that does not fit into its file.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        Ok(RecoveryPoint::new().and("huge", "x".repeat(100_000)))
    }
}

export!(Sqlite<Hostile>);
