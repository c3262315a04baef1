//! Says that it is frozen, and has let go before.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, statement, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        for database in cx.databases() {
            statement::rollback(cx, database)?;
        }
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
