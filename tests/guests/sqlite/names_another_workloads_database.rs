//! Names databases that are not its own: another workload's, and files that are none.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

enum Hostile {}

impl OnSqlite for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        let other = cx.databases().first().map(|own| own.replace("a.db", "other.db")).unwrap_or_default();
        for database in [other.as_str(), "/etc/passwd", "", ":memory:", "a.db"] {
            try_it(cx, "begin_immediate", Some(database), &[]);
            try_it(cx, "rollback", Some(database), &[]);
        }
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
