//! Writes into `ipc_folder` in thaw, where the agent may hold the filesystem frozen.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite, let_go};

enum Hostile {}

impl OnSqlite for Hostile {
    fn thaw(cx: &Thaw) -> Result<()> {
        state::put("late", b"not in the snapshot")?;
        let_go(cx)
    }
}

export!(Sqlite<Hostile>);
