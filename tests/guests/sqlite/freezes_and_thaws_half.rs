//! Says that it is frozen, and has let go of the last database before.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, statement, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        if let Some(last) = cx.databases().last() {
            statement::rollback(cx, last)?;
        }
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
