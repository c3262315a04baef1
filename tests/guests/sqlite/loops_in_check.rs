//! Never returns from check.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(_cx: &Check) -> Result<()> {
        forever()
    }
}

export!(Sqlite<Hostile>);
