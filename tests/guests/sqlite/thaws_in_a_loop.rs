//! Lets go again and again, without end.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn thaw(cx: &Thaw) -> Result<()> {
        loop {
            for database in cx.databases() {
                try_it(cx, "rollback", Some(database), &[]);
            }
        }
    }
}

export!(Sqlite<Hostile>);
