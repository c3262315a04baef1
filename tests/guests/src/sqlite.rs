//! A module that behaves on SQLite.

use std::marker::PhantomData;
use std::time::Duration;

use stillpoint_sdk::prelude::*;

/// The statements of `sqlite/module.toml`.
#[allow(missing_docs)]
pub mod statement {
    stillpoint_sdk::module!("sqlite/module.toml");
    pub use sql::*;
}

/// Each phase as it should be. A guest writes its own version of one.
#[allow(missing_docs, clippy::missing_errors_doc)]
pub trait OnSqlite {
    fn check(_cx: &Check) -> Result<()> {
        Ok(())
    }

    fn prepare(_cx: &Prepare) -> Result<()> {
        Ok(())
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        stop_writes(cx)?;
        Ok(RecoveryPoint::new())
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        let_go(cx)
    }
}

/// The guest as a module.
pub struct Sqlite<G>(PhantomData<G>);

impl<G: OnSqlite> Workload for Sqlite<G> {
    fn check(cx: &Check) -> Result<()> {
        for database in cx.databases() {
            statement::busy_timeout(cx, database, 8)?;
        }
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

/// Takes the lock that stops writers, of one database.
///
/// # Errors
/// As the host says.
pub fn stop(cx: &Freeze, database: &str) -> Result<()> {
    loop {
        match statement::begin_immediate(cx, database) {
            // Busy: SQLite itself would look less and less often.
            Err(e) if e.code() == Some("5") && clock::remaining() > Duration::from_millis(200) => {}
            other => return other,
        }
    }
}

/// Takes it of every database.
///
/// # Errors
/// As the host says.
pub fn stop_writes(cx: &Freeze) -> Result<()> {
    cx.databases().iter().try_for_each(|database| stop(cx, database))
}

/// Holds something in prepare that stops nobody, so that there is something to take back.
///
/// # Errors
/// As the host says.
pub fn hold(cx: &Prepare) -> Result<()> {
    cx.databases().iter().try_for_each(|database| statement::begin(cx, database))
}

/// Lets go of every database.
///
/// # Errors
/// As the host says.
pub fn let_go(cx: &Thaw) -> Result<()> {
    cx.databases().iter().try_for_each(|database| statement::rollback(cx, database))
}
