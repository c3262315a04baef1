//! A module that behaves on MariaDB.

use std::marker::PhantomData;

use stillpoint_sdk::prelude::*;

/// The statements of `mariadb/module.toml`.
#[allow(missing_docs)]
pub mod statement {
    stillpoint_sdk::module!("mariadb/module.toml");
    pub use sql::*;
}

/// Each phase as it should be. A guest writes its own version of one.
#[allow(missing_docs, clippy::missing_errors_doc)]
pub trait OnMariaDb {
    fn check(_cx: &Check) -> Result<()> {
        Ok(())
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        statement::stage_start(cx)
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        statement::stage_block_commit(cx)?;
        Ok(RecoveryPoint::new())
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        statement::stage_end(cx)
    }
}

/// The guest as a module.
pub struct MariaDb<G>(PhantomData<G>);

impl<G: OnMariaDb> Workload for MariaDb<G> {
    fn check(cx: &Check) -> Result<()> {
        G::check(cx)
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        G::prepare(cx)
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        G::freeze(cx)
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        G::thaw(cx)
    }
}
