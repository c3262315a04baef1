//! Clears the screen in the words with which it fails, and in a finding.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn check(cx: &Check) -> Result<()> {
        cx.problem("\u{1b}[2J\u{1b}[1;1H\r\n✔ application-consistent (still)");
        Err(Error::new("\u{1b}]0;title\u{7}\u{202e}\r\n✔ done"))
    }
}

export!(Sqlite<Hostile>);
