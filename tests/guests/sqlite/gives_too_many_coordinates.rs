//! Gives a recovery point of ten thousand coordinates.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        let mut point = RecoveryPoint::new();
        for i in 0..10_000 {
            point = point.and(format!("c{i}"), i);
        }
        Ok(point)
    }
}

export!(Sqlite<Hostile>);
