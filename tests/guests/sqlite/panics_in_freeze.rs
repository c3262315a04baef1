//! Panics in freeze, while writers wait.

#![allow(clippy::panic)]

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        panic!("this one panics")
    }
}

export!(Sqlite<Hostile>);
