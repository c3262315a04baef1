//! Reports ten thousand findings and a version of a mebibyte.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(cx: &Check) -> Result<()> {
        cx.version("9".repeat(1 << 20));
        for _ in 0..10_000 {
            cx.note("x".repeat(100));
        }
        Ok(())
    }
}

export!(Sqlite<Hostile>);
