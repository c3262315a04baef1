//! Says why it failed in a mebibyte.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        Err(Error::new("why ".repeat(1 << 18)))
    }
}

export!(Sqlite<Hostile>);
