//! Spends nearly all the time that writers may be made to wait, and then behaves.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        while clock::remaining() > Duration::from_secs(2) {}
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
