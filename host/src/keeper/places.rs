//! Where everything lies.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sys::ownership;

/// The three folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Configuration, grants, trust.
    pub etc: PathBuf,
    /// Modules, ledger, records.
    pub lib: PathBuf,
    /// Sockets and the lock.
    pub run: PathBuf,
}

impl Places {
    /// The system's, or all under one folder.
    pub fn under(state_dir: Option<&Path>) -> Places {
        match state_dir {
            None => Places {
                etc: "/etc/stillpoint".into(),
                lib: "/var/lib/stillpoint".into(),
                run: "/run/stillpoint".into(),
            },
            Some(d) => Places { etc: d.join("etc"), lib: d.join("lib"), run: d.join("run") },
        }
    }

    /// Makes what is written to, for us alone.
    ///
    /// # Errors
    /// What the system gives.
    pub fn make(&self) -> io::Result<()> {
        for folder in [&self.lib, &self.records(), &self.run] {
            // Making it would wait for a disk that is frozen, also where it is there.
            if !folder.is_dir() {
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            // Undos are read from here and run: nobody else may have written them.
            ownership::check(folder, &[]).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// What we write to, or run from: its filesystems are never frozen by us.
    pub fn ours(&self) -> Vec<PathBuf> {
        let program = std::env::current_exe().unwrap_or_else(|_| "/".into());
        let mut out = vec![program, self.lib.clone(), self.run.clone()];
        // `check` may come before anything was made.
        for path in &mut out {
            while !path.exists() && path.pop() {}
        }
        out
    }

    /// The installed modules.
    pub fn modules(&self) -> PathBuf {
        self.lib.join("modules")
    }

    /// Whom this machine trusts.
    pub fn trust(&self) -> PathBuf {
        self.etc.join("trust")
    }

    /// What each module may do.
    pub fn grants(&self) -> PathBuf {
        self.etc.join("grants")
    }

    /// The lowest sequences that may run.
    pub fn floors(&self) -> PathBuf {
        self.lib.join("floors")
    }

    /// Whether these are the machine's own: there nothing runs for development.
    pub fn are_the_systems(&self) -> bool {
        *self == Places::under(None)
    }

    /// What was compiled of them.
    pub fn compiled(&self) -> PathBuf {
        self.lib.join("compiled")
    }

    /// The ledger.
    pub fn ledger(&self) -> PathBuf {
        self.lib.join("ledger")
    }

    /// What past cycles did.
    pub fn records(&self) -> PathBuf {
        self.lib.join("records")
    }

    /// The record of this cycle.
    pub fn record(&self, cycle: &str) -> PathBuf {
        self.records().join(format!("{cycle}.json"))
    }

    /// Holds the id of the last cycle that `freeze` began, until somebody was told its verdict.
    pub fn unclaimed(&self) -> PathBuf {
        self.lib.join("unclaimed")
    }

    /// Somebody was told the verdict, or another cycle begins.
    ///
    /// # Errors
    /// What the system gives; none when there was nothing to forget.
    pub fn forget_unclaimed(&self) -> io::Result<()> {
        match std::fs::remove_file(self.unclaimed()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// One cycle at a time.
    pub fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    /// The keeper's socket.
    pub fn control(&self) -> PathBuf {
        self.run.join("control.sock")
    }
}
