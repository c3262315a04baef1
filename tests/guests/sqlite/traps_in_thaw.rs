//! Traps in thaw, and has let go of nothing.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn thaw(_cx: &Thaw) -> Result<()> {
        std::process::abort()
    }
}

export!(Sqlite<Hostile>);
