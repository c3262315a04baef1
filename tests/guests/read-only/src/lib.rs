//! MariaDB, frozen by `SET GLOBAL read_only`, which outlasts every session. What was there before is for the host to
//! restore, so there is no thaw here.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The module.
pub struct ReadOnly;

impl Workload for ReadOnly {
    fn check(_: &Check) -> Result<()> {
        Ok(())
    }

    fn prepare(_: &Prepare) -> Result<()> {
        Ok(())
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        sql::set_read_only(cx)?;
        Ok(RecoveryPoint::new())
    }

    fn thaw(_: &Thaw) -> Result<()> {
        Ok(())
    }
}

stillpoint_sdk::export!(ReadOnly);
