//! Says that it cannot, in prepare, while it holds something.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, hold};

enum Hostile {}

impl OnSqlite for Hostile {
    fn prepare(cx: &Prepare) -> Result<()> {
        hold(cx)?;
        Err(Error::new("this one always fails"))
    }
}

export!(Sqlite<Hostile>);
