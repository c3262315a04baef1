//! Which statement is allowed in which phase. Nobody else can implement these traits.
//!
//! | effect | check | prepare | freeze | thaw |
//! |---|---|---|---|---|
//! | `read`, `session` | ✔ | ✔ | ✔ | ✔ |
//! | `change` | | ✔ | | ✔ |
//! | `flush` | | ✔ | ✔ | |
//! | `freeze`, stops `nothing` or `ddl` | | ✔ | ✔ | |
//! | `freeze`, stops `writes` | | | ✔ | |
//! | `undo` | | ✔ | ✔ | ✔ |
//! | `cancel` | | | | (the host alone) |

use crate::context::{Check, Freeze, Prepare, Thaw};

mod sealed {
    pub trait Phase {}
}

impl sealed::Phase for Check {}
impl sealed::Phase for Prepare {}
impl sealed::Phase for Freeze {}
impl sealed::Phase for Thaw {}

/// Statements with `effect = "read"` or `"session"` run here.
pub trait MayRead: sealed::Phase {}
impl MayRead for Check {}
impl MayRead for Prepare {}
impl MayRead for Freeze {}
impl MayRead for Thaw {}

/// Statements with `effect = "change"` run here.
#[diagnostic::on_unimplemented(
    message = "a statement with effect = \"change\" runs in prepare or thaw, not in `{Self}`"
)]
pub trait MayChange: MayRead {}
impl MayChange for Prepare {}
impl MayChange for Thaw {}

/// Statements with `effect = "flush"` run here.
#[diagnostic::on_unimplemented(
    message = "a statement with effect = \"flush\" runs in prepare or freeze, not in `{Self}`"
)]
pub trait MayFlush: MayRead {}
impl MayFlush for Prepare {}
impl MayFlush for Freeze {}

/// Statements with `effect = "freeze"` that stop nothing, or only changes of the schema, run here.
#[diagnostic::on_unimplemented(message = "a statement that freezes runs in prepare or freeze, not in `{Self}`")]
pub trait MayHold: MayRead {}
impl MayHold for Prepare {}
impl MayHold for Freeze {}

/// Statements with `effect = "freeze"` and `stops = "writes"` run here.
#[diagnostic::on_unimplemented(message = "a statement that stops writes runs in freeze, not in `{Self}`")]
pub trait MayStopWrites: MayRead {}
impl MayStopWrites for Freeze {}

/// Statements with `effect = "undo"` run here.
#[diagnostic::on_unimplemented(
    message = "a statement that undoes a freeze runs in prepare, freeze or thaw, not in `{Self}`"
)]
pub trait MayUndo: MayRead {}
impl MayUndo for Prepare {}
impl MayUndo for Freeze {}
impl MayUndo for Thaw {}
