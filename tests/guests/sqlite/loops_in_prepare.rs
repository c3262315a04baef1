//! Never returns from prepare, while it holds something.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, hold};

enum Hostile {}

impl OnSqlite for Hostile {
    fn prepare(cx: &Prepare) -> Result<()> {
        hold(cx)?;
        forever()
    }
}

export!(Sqlite<Hostile>);
