//! Looks round for nearly all the time that its freeze may take, with nothing frozen yet, and then behaves.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        while clock::remaining() > Duration::from_secs(2) {}
        stop_writes(cx)?;
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
