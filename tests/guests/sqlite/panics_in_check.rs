//! Panics in check.

#![allow(clippy::panic)]

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(_cx: &Check) -> Result<()> {
        panic!("this one panics")
    }
}

export!(Sqlite<Hostile>);
