//! Ends sessions of others, and of its own, in every phase.

use stillpoint_guests::mariadb::{MariaDb, OnMariaDb, statement};
use stillpoint_guests::prelude::*;
use stillpoint_sdk::phase::MayRead;

fn cancel_all(cx: &impl MayRead) -> Result<()> {
    for session in statement::sessions(cx)? {
        try_it(cx, "kill", None, &[Value::Integer(session.id)]);
    }
    Ok(())
}

enum Hostile {}

impl OnMariaDb for Hostile {
    fn check(cx: &Check) -> Result<()> {
        cancel_all(cx)
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        cancel_all(cx)?;
        statement::stage_start(cx)
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        statement::stage_block_commit(cx)?;
        cancel_all(cx)?;
        Ok(RecoveryPoint::new())
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        cancel_all(cx)?;
        statement::stage_end(cx)
    }
}

export!(MariaDb<Hostile>);
