//! MariaDB, by a module that does not raise `wait_timeout`: the server may end the session that holds.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The module.
pub struct Idle;

impl Workload for Idle {
    fn check(cx: &Check) -> Result<()> {
        cx.version(sql::version(cx)?.one()?.version);
        Ok(())
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        sql::stage_start(cx)
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        sql::stage_block_commit(cx)?;
        Ok(RecoveryPoint::new())
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        sql::stage_end(cx)
    }
}

stillpoint_sdk::export!(Idle);
