//! Says that it is frozen when the time for that is over.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        while clock::remaining() > Duration::ZERO {}
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
