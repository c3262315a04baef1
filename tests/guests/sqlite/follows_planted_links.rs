//! Reads, writes and removes the names under which others have put links into `ipc_folder`.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn prepare(_cx: &Prepare) -> Result<()> {
        for name in ["read", "inside", "written", "folder", "removed", "pipe"] {
            match state::get(name) {
                Ok(content) => {
                    tell(format_args!("get {name}: {}", String::from_utf8_lossy(&content.unwrap_or_default())))
                }
                Err(e) => tell(format_args!("get {name}: {e}")),
            }
        }
        for name in ["written", "folder", "pipe"] {
            match state::put(name, b"written by the module") {
                Ok(()) => tell(format_args!("put {name}: done")),
                Err(e) => tell(format_args!("put {name}: {e}")),
            }
        }
        state::remove("removed")?;
        tell(state::list()?.join(" "));
        Ok(())
    }
}

export!(Sqlite<Hostile>);
