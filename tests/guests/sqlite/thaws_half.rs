//! Says that it has let go, and has let go of the first database alone.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, statement};

enum Hostile {}

impl OnSqlite for Hostile {
    fn thaw(cx: &Thaw) -> Result<()> {
        cx.databases().iter().take(1).try_for_each(|database| statement::rollback(cx, database))
    }
}

export!(Sqlite<Hostile>);
