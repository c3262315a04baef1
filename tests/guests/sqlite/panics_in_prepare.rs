//! Panics in prepare, while it holds something.

#![allow(clippy::panic)]

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, hold};

enum Hostile {}

impl OnSqlite for Hostile {
    fn prepare(cx: &Prepare) -> Result<()> {
        hold(cx)?;
        panic!("this one panics")
    }
}

export!(Sqlite<Hostile>);
