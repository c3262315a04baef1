//! MariaDB, by a module whose code is harmless, and whose manifest is not: the page must say so.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The module.
pub struct Backdoor;

impl Workload for Backdoor {
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

stillpoint_sdk::export!(Backdoor);
