//! Says that it is frozen, and writers go on.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, statement};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        for database in cx.databases() {
            statement::begin(cx, database)?;
        }
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
