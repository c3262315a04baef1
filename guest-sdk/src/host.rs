//! The five interfaces: on wasm the host's, natively those of [`crate::fake`].

use crate::{StatementError, Value};

#[cfg(target_arch = "wasm32")]
use crate::bindings::stillpoint::workload as there;
#[cfg(not(target_arch = "wasm32"))]
use crate::fake as there;

pub(crate) fn run(
    statement: &str,
    database: Option<&str>,
    arguments: &[Value],
) -> Result<Vec<Vec<Value>>, StatementError> {
    there::database::run(statement, database, arguments)
}

/// Small named files of this workload in `ipc_folder`: they lie inside the snapshot.
pub mod state {
    use super::there;
    use crate::{Error, Result};

    /// Replaces the file whole, or leaves it as it was.
    ///
    /// # Errors
    /// In the host's words: a name that is not allowed, a limit, a full disk.
    pub fn put(name: &str, content: &[u8]) -> Result<()> {
        there::state::put(name, content).map_err(Error::new)
    }

    /// The file's content, or none if there is no such file.
    ///
    /// # Errors
    /// In the host's words.
    pub fn get(name: &str) -> Result<Option<Vec<u8>>> {
        there::state::get(name).map_err(Error::new)
    }

    /// The names of all files.
    ///
    /// # Errors
    /// In the host's words.
    pub fn list() -> Result<Vec<String>> {
        there::state::list_names().map_err(Error::new)
    }

    /// To remove what is not there is no error.
    ///
    /// # Errors
    /// In the host's words.
    pub fn remove(name: &str) -> Result<()> {
        there::state::remove(name).map_err(Error::new)
    }
}

/// Tell those who listen on the messaging channel.
pub mod events {
    /// Publishes `dev.stillpoint.module.<kind>.v1` with `text`. Never waits; beyond the limit it is dropped.
    pub fn emit(kind: &str, text: &str) {
        super::there::events::emit(kind, text);
    }
}

/// Lines in the cycle's record. They never wait; beyond the limit they are dropped.
pub mod log {
    use super::there::log::{Severity, write};
    use std::fmt::Display;

    /// For the author.
    pub fn debug(text: impl Display) {
        write(Severity::Debug, &text.to_string());
    }

    /// For the operator.
    pub fn info(text: impl Display) {
        write(Severity::Info, &text.to_string());
    }

    /// For the operator's attention.
    pub fn warn(text: impl Display) {
        write(Severity::Warn, &text.to_string());
    }

    /// What went wrong.
    pub fn error(text: impl Display) {
        write(Severity::Error, &text.to_string());
    }
}

/// The host's clock.
pub mod clock {
    use std::time::Duration;

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn now() -> u64 {
        super::there::clock::now()
    }

    /// How much is left in this phase.
    #[must_use]
    pub fn remaining() -> Duration {
        Duration::from_millis(super::there::clock::remaining().into())
    }

    /// Waits, at most 50 ms at a time: for what the server has no statement to wait for.
    pub fn sleep(time: Duration) {
        super::there::clock::sleep(u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
    }
}
