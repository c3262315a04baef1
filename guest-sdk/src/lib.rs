//! What a contributor of a Stillpoint module depends on.
//!
//! A module is a `module.toml`, which is all that it may ever do, and one Rust file:
//!
//! ```ignore
//! use stillpoint_sdk::prelude::*;
//!
//! stillpoint_sdk::module!("module.toml"); // one typed function for each statement, in `sql`
//!
//! struct MariaDb;
//!
//! impl Workload for MariaDb {
//!     fn check(cx: &Check) -> Result<()> {
//!         cx.version(sql::version(cx)?.one()?.version);
//!         Ok(())
//!     }
//!     fn prepare(cx: &Prepare) -> Result<()> {
//!         sql::stage_start(cx)
//!     }
//!     fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
//!         sql::stage_block_commit(cx)?;
//!         Ok(RecoveryPoint::new().and("gtid", sql::gtid(cx)?.one()?.gtid))
//!     }
//!     fn thaw(cx: &Thaw) -> Result<()> {
//!         sql::stage_end(cx)
//!     }
//! }
//!
//! stillpoint_sdk::export!(MariaDb);
//! ```
//!
//! A statement that is not declared, an argument of the wrong type, or a statement in a phase where its effect is not
//! allowed does not compile. `fake::FakeHost` answers for the database in unit tests, which run natively.

#[doc(hidden)]
pub mod bindings;
mod context;
mod error;
#[doc(hidden)]
pub mod export;
#[cfg(not(target_arch = "wasm32"))]
pub mod fake;
mod host;
pub mod phase;
mod rows;

pub use bindings::stillpoint::workload::types::{
    Coordinate, DatabaseError, Finding, Level, Plan, Report, Snapshot, StatementError, Value,
};
pub use context::{Check, Freeze, Prepare, RecoveryPoint, Thaw};
pub use error::{Error, Result};
pub use host::{clock, events, log, state};
pub use rows::{Cell, Rows};
pub use stillpoint_sdk_macros::module;

#[doc(hidden)]
pub use rows::{FromRow, call, execute};

/// What a module does, in the order in which the host calls it.
///
/// It may fail or be killed anywhere: what it froze, the host takes back from the manifest alone.
pub trait Workload {
    /// Would a freeze work? Only statements whose effect is `read` or `session`.
    ///
    /// # Errors
    /// The cycle ends before anything is frozen, with the error's text.
    fn check(cx: &Check) -> Result<()>;

    /// All slow work, while nothing stands still: flush, checkpoint, rotate.
    ///
    /// # Errors
    /// The cycle ends; the host undoes what was taken.
    fn prepare(cx: &Prepare) -> Result<()>;

    /// Short: from here writers may wait. Gives the coordinates from which a log could be rolled forward.
    ///
    /// The first freezing statement waits until other workloads are about to freeze, too. Where that takes long it is refused, and
    /// the host calls `freeze` once more: what was looked at before it is old by then.
    ///
    /// # Errors
    /// The freeze failed; the host undoes what was taken.
    fn freeze(cx: &Freeze) -> Result<RecoveryPoint>;

    /// The graceful way back. What it leaves armed, the host undoes.
    ///
    /// # Errors
    /// The host undoes what is still armed, and the verdict says that the module failed.
    fn thaw(cx: &Thaw) -> Result<()>;
}

/// What nearly every module needs.
pub mod prelude {
    pub use crate::{
        Check, Error, Freeze, Prepare, RecoveryPoint, Result, Snapshot, Thaw, Workload, clock, events, log, state,
    };
}
