//! Asks the database without end, while writers wait.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, statement, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        loop {
            for database in cx.databases() {
                black_box(statement::data_version(cx, database)?);
            }
        }
    }
}

export!(Sqlite<Hostile>);
