//! Publishes events without end while writers wait, of kinds that are no words, too.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        let text = "x".repeat(10_000);
        for kind in ["../x", "", "A", "flood"] {
            for _ in 0..500 {
                events::emit(kind, &text);
            }
        }
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
