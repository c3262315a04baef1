//! Stops writes in check.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(cx: &Check) -> Result<()> {
        for database in cx.databases() {
            execute(cx, "begin_immediate", Some(database), &[])?;
        }
        Ok(())
    }
}

export!(Sqlite<Hostile>);
