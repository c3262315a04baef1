//! Fills the disk under `ipc_folder`.

use stillpoint_guests::prelude::*;
use stillpoint_guests::sqlite::{OnSqlite, Sqlite};

enum Hostile {}

impl OnSqlite for Hostile {
    fn prepare(_cx: &Prepare) -> Result<()> {
        let much = vec![b'x'; 600_000];
        for i in 0_u32.. {
            state::put(&format!("flood-{i}"), &much)?;
        }
        Ok(())
    }
}

export!(Sqlite<Hostile>);
