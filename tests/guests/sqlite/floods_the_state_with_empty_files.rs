//! Makes files in `ipc_folder` without end, and writes nothing into them.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn prepare(_cx: &Prepare) -> Result<()> {
        for i in 0_u32.. {
            state::put(&format!("flood-{i}"), b"")?;
        }
        Ok(())
    }
}

export!(Sqlite<Hostile>);
