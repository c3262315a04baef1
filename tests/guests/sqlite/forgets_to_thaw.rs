//! Says that it has let go, and has not.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn thaw(_cx: &Thaw) -> Result<()> {
        Ok(())
    }
}

export!(Sqlite<Hostile>);
