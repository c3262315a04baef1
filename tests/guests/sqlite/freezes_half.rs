//! Says that it is frozen, and has frozen the first database alone.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        for database in cx.databases().iter().take(1) {
            stop(cx, database)?;
        }
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
