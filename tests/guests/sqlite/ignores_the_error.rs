//! Says that it is frozen, though the database said that somebody else holds the lock.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        for database in cx.databases() {
            try_it(cx, "begin_immediate", Some(database), &[]);
        }
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
