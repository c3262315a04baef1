//! Freezes what is frozen already, and does not mind the error.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        for database in cx.databases() {
            try_it(cx, "begin_immediate", Some(database), &[]);
            try_it(cx, "begin", Some(database), &[]);
        }
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
