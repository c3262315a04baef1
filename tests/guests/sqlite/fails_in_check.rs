//! Says that it cannot, in check.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(_cx: &Check) -> Result<()> {
        Err(Error::new("this one always fails"))
    }
}

export!(Sqlite<Hostile>);
