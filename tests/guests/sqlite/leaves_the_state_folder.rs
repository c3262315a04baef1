//! Names files that would lie elsewhere, or would be the host's own.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn prepare(_cx: &Prepare) -> Result<()> {
        let long = "a".repeat(65);
        let names = [
            "..",
            "../escaped",
            "a/../../escaped",
            "/tmp/escaped",
            "sub/escaped",
            "a\\b",
            "",
            ".",
            ".hidden",
            "-x",
            "A",
            "nul\0",
            "line\n",
            "ä",
            "a b",
            "*",
            "recovery-point.json",
            "recovery-point.json/",
            "1digit",
            "stillpoint.hostile.x/..",
            &long,
        ];
        for name in names {
            for (what, done) in [
                ("put", state::put(name, b"escaped")),
                ("get", state::get(name).map(drop)),
                ("remove", state::remove(name)),
            ] {
                match done {
                    Ok(()) => tell(format_args!("{what} {name:?}: done")),
                    Err(e) => tell(format_args!("{what} {name:?}: {e}")),
                }
            }
        }
        Ok(())
    }
}

export!(Sqlite<Hostile>);
