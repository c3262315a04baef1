//! Lets go, and stops writes again.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, let_go};

enum Hostile {}

impl OnSqlite for Hostile {
    fn thaw(cx: &Thaw) -> Result<()> {
        let_go(cx)?;
        for database in cx.databases() {
            try_it(cx, "begin_immediate", Some(database), &[]);
            try_it(cx, "begin", Some(database), &[]);
        }
        Ok(())
    }
}

export!(Sqlite<Hostile>);
