//! Moves the cursor, clears the screen, rings, sets the title and turns letters round, in every text that it can say.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, stop_writes};

const DRAWN: &str =
    "\u{1b}[2J\u{1b}[1;1H\u{1b}]0;title\u{7}\r\n✔ application-consistent (still)\u{202e}\u{9b}2J\0\u{7f}\u{8}";

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(cx: &Check) -> Result<()> {
        cx.version(DRAWN);
        cx.note(DRAWN);
        cx.warn(DRAWN);
        log::error(DRAWN);
        events::emit("drawn", DRAWN);
        Ok(())
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        Ok(RecoveryPoint::new().and(DRAWN, DRAWN))
    }

    fn thaw(_cx: &Thaw) -> Result<()> {
        Err(Error::new(DRAWN))
    }
}

export!(Sqlite<Hostile>);
