//! Puts more into one call than the engine passes on, while writers wait.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        state::put("huge", &vec![b'x'; 3_000_000])?;
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
