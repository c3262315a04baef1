//! Traps in freeze, while every commit waits.

use stillpoint_guests::mariadb::{MariaDb, OnMariaDb, statement};
use stillpoint_guests::prelude::*;

enum Hostile {}

impl OnMariaDb for Hostile {
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        statement::stage_block_commit(cx)?;
        std::process::abort()
    }
}

export!(MariaDb<Hostile>);
