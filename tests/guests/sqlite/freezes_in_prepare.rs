//! Stops writes in prepare, which may take long.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn prepare(cx: &Prepare) -> Result<()> {
        for database in cx.databases() {
            execute(cx, "begin_immediate", Some(database), &[])?;
        }
        Ok(())
    }
}

export!(Sqlite<Hostile>);
