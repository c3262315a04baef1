//! Runs statements that the manifest does not name, in every phase.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

const UNDECLARED: [&str; 8] = [
    "drop_table",
    "DROP TABLE canary",
    "rollback; DROP TABLE canary",
    "",
    ".shell touch /tmp/stillpoint-was-here",
    "ROLLBACK",
    "Rollback",
    "rollback\0",
];

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(cx: &Check) -> Result<()> {
        for statement in UNDECLARED {
            try_it(cx, statement, cx.databases().first().map(String::as_str), &[]);
        }
        Ok(())
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        for statement in UNDECLARED {
            try_it(cx, statement, cx.databases().first().map(String::as_str), &[]);
        }
        Ok(RecoveryPoint::new())
    }
}

export!(Sqlite<Hostile>);
