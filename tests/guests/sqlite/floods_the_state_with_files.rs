//! Makes files in `ipc_folder` without end.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn prepare(_cx: &Prepare) -> Result<()> {
        for i in 0_u32.. {
            state::put(&format!("flood-{i}"), b"x")?;
        }
        Ok(())
    }
}

export!(Sqlite<Hostile>);
