//! Panics in thaw, and has let go of nothing.

#![allow(clippy::panic)]

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn thaw(_cx: &Thaw) -> Result<()> {
        panic!("this one panics")
    }
}

export!(Sqlite<Hostile>);
