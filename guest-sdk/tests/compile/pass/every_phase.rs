//! Every effect in every phase that allows it.

use stillpoint_sdk::fake::FakeHost;
use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

struct Some;

impl Workload for Some {
    fn check(cx: &Check) -> Result<()> {
        sql::data_folder(cx)?;
        sql::lock_wait(cx, 5)
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        sql::data_folder(cx)?;
        sql::lock_wait(cx, 5)?;
        sql::rotate(cx)?;
        sql::write_out(cx)?;
        sql::backup_start(cx)?;
        sql::lock_schema(cx)?;
        sql::backup_end(cx)
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        sql::write_out(cx)?;
        sql::data_folder(cx)?;
        sql::lock_wait(cx, 5)?;
        sql::backup_start(cx)?;
        sql::lock_schema(cx)?;
        sql::lock_writes(cx)?;
        sql::backup_end(cx)?;
        Ok(RecoveryPoint::new())
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        sql::data_folder(cx)?;
        sql::lock_wait(cx, 5)?;
        sql::rotate(cx)?;
        sql::backup_end(cx)
    }
}

stillpoint_sdk::export!(Some);

fn main() {
    let host = FakeHost::new();
    host.check::<Some>().expect("check");
    host.prepare::<Some>().expect("prepare");
    host.freeze::<Some>().expect("freeze");
    host.thaw::<Some>().expect("thaw");
    assert_eq!(host.sent().len(), 20);
    assert_eq!(host.sent()[..3], ["data_folder()", "lock_wait(5)", "data_folder()"]);
}
