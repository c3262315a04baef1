//! Workloads that wait for each other.

use std::cell::Cell;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How many are still awaited.
#[derive(Debug, Default)]
pub struct Gathering {
    awaited: Cell<usize>,
    all: Notify,
    complete_since: Cell<Option<Instant>>,
}

impl Gathering {
    /// So many are awaited from here on.
    pub fn begin(&self, count: usize) {
        self.awaited.set(count);
        self.complete_since.set(None);
    }

    /// One of them has come, or never will.
    pub fn one_has_come(&self) {
        self.awaited.set(self.awaited.get().saturating_sub(1));
        if self.awaited.get() == 0 {
            self.complete_since.set(Some(Instant::now()));
            self.all.notify_waiters();
        }
    }

    /// Waits until all of them have.
    pub async fn all_have_come(&self) {
        let come = self.all.notified();
        if self.awaited.get() > 0 {
            come.await;
        }
    }

    /// When the last of them came.
    pub fn complete_since(&self) -> Option<Instant> {
        self.complete_since.get()
    }
}
