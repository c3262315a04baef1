//! Says that it is frozen, and has sent nothing.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(_cx: &Freeze) -> Result<RecoveryPoint> {
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
