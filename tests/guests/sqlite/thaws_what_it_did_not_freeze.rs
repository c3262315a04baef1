//! Lets go before it has frozen anything, and then behaves.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn prepare(cx: &Prepare) -> Result<()> {
        for database in cx.databases() {
            try_it(cx, "rollback", Some(database), &[]);
        }
        Ok(())
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        for database in cx.databases() {
            try_it(cx, "rollback", Some(database), &[]);
        }
        stop_writes(cx)?;
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
