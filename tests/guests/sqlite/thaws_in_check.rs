//! Lets go in check, where nothing can be frozen.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(cx: &Check) -> Result<()> {
        for database in cx.databases() {
            try_it(cx, "rollback", Some(database), &[]);
        }
        Ok(())
    }
}

export!(Sqlite<Hostile>);
