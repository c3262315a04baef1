//! The ledger of a running cycle, and the clock of its standstill: one for all workloads.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::time::Duration;

use stillpoint_contract::manifest::{Lasts, Stops};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ledger::file::LedgerFile;
use crate::ledger::{Entry, Ledger, Line};

/// What is armed, and since when something stands still.
#[derive(Debug)]
pub struct Book {
    ledger: RefCell<Ledger>,
    file: RefCell<LedgerFile>,
    /// Closing lines: written after the thaw, because while anything is frozen nothing of ours touches a disk.
    closing: RefCell<Vec<Line>>,
    first_freeze: Cell<Option<Instant>>,
    first_stop: Cell<Option<Instant>>,
    last_undo: Cell<Option<Instant>>,
    began: Notify,
}

impl Book {
    /// Begins a cycle's ledger, on disk.
    ///
    /// # Errors
    /// What the system gives: then nothing may be frozen.
    pub fn begin(path: &Path, cycle: &str, boot: &str) -> io::Result<Book> {
        let (ledger, first) = Ledger::open(cycle, boot);
        Ok(Book::of(ledger, LedgerFile::begin(path, &first)?))
    }

    /// For `check`, which arms nothing: the broker refuses every freeze there.
    ///
    /// # Errors
    /// What the system gives.
    pub fn nowhere(cycle: &str) -> io::Result<Book> {
        Ok(Book::of(Ledger::open(cycle, "").0, LedgerFile::nowhere()?))
    }

    fn of(ledger: Ledger, file: LedgerFile) -> Book {
        Book {
            ledger: RefCell::new(ledger),
            file: RefCell::new(file),
            closing: RefCell::default(),
            first_freeze: Cell::new(None),
            first_stop: Cell::new(None),
            last_undo: Cell::new(None),
            began: Notify::new(),
        }
    }

    /// Writes an undo down, on disk where the freeze lasts there. Only then may its freeze be sent.
    ///
    /// # Errors
    /// What the system gives: then the freeze must not be sent.
    pub async fn arm(&self, entry: Entry) -> io::Result<()> {
        let lasts = entry.lasts;
        let Some(line) = self.ledger.borrow_mut().arm(entry) else { return Ok(()) };
        // On a thread of its own: a disk that hangs must not stop the clock.
        let file = self.file.borrow().again();
        let kept = line.clone();
        let written = match file {
            Ok(mut file) => tokio::task::spawn_blocking(move || file.append(&line, lasts == Lasts::Disk))
                .await
                .unwrap_or_else(|e| Err(io::Error::other(e))),
            Err(e) => Err(e),
        };
        if let (Err(_), Line::Armed(entry)) = (&written, &kept) {
            self.ledger.borrow_mut().disarm("not written", |e| e.number == entry.number);
        }
        written
    }

    /// A freezing statement is sent now.
    pub fn sends_freeze(&self, stops: Stops) {
        let now = Instant::now();
        if self.first_freeze.get().is_none() {
            self.first_freeze.set(Some(now));
            self.began.notify_one();
        }
        if stops == Stops::Writes && self.first_stop.get().is_none() {
            self.first_stop.set(Some(now));
        }
    }

    /// What `done` accepts is no longer frozen.
    pub fn taken_back(&self, how: &str, done: impl Fn(&Entry) -> bool) {
        let lines = self.ledger.borrow_mut().disarm(how, done);
        if !lines.is_empty() {
            self.last_undo.set(Some(Instant::now()));
            self.closing.borrow_mut().extend(lines);
        }
    }

    /// What is armed for this workload, the last first.
    pub fn armed(&self, workload: &str) -> Vec<Entry> {
        self.ledger.borrow().armed().filter(|e| e.workload == workload).cloned().collect()
    }

    /// The workloads for which something is armed.
    pub fn holding(&self) -> Vec<String> {
        let mut out: Vec<String> = self.ledger.borrow().armed().map(|e| e.workload.clone()).collect();
        out.sort();
        out.dedup();
        out
    }

    /// Whether anything is armed at all.
    pub fn is_armed(&self) -> bool {
        self.ledger.borrow().armed().next().is_some()
    }

    /// Writes the closing lines. Called after the thaw.
    ///
    /// # Errors
    /// What the system gives: then `recover` finds the entries armed, and undoes what is undone already.
    pub fn close(&self) -> io::Result<()> {
        for line in self.closing.borrow_mut().drain(..) {
            self.file.borrow_mut().append(&line, false)?;
        }
        Ok(())
    }

    /// Ends when `limit` has passed since the first freezing statement of the cycle.
    pub async fn expired(&self, limit: Duration) {
        let first = loop {
            match self.first_freeze.get() {
                Some(first) => break first,
                None => self.began.notified().await,
            }
        };
        tokio::time::sleep_until(first + limit).await;
    }

    /// When the standstill must be over, once something was frozen.
    pub fn first_freeze(&self) -> Option<Instant> {
        self.first_freeze.get()
    }

    /// From the first statement that stops writes to the last undo acknowledged.
    pub fn standstill(&self) -> Option<Duration> {
        Some(self.last_undo.get()?.saturating_duration_since(self.first_stop.get()?))
    }

    /// From the first freezing statement of any kind to the last undo acknowledged.
    pub fn frozen_for(&self) -> Option<Duration> {
        Some(self.last_undo.get()?.saturating_duration_since(self.first_freeze.get()?))
    }
}
