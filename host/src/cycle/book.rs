//! The ledger of a running cycle, and the clock of its standstill: one for all workloads.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::time::Duration;

use stillpoint_contract::manifest::Lasts;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::gathering::Gathering;
use crate::audit::{Audit, Who};
use crate::crash::{self, Step};
use crate::events::Events;
use crate::guard::Guard;
use crate::guard::packet::Packet;
use crate::ledger::file::{self, LedgerFile};
use crate::ledger::{Entry, Ledger, Line};
use crate::sys::boot;

/// How long the keeper may take to thaw, once it has begun to, before the guard takes over.
const THAW: Duration = Duration::from_secs(20);

/// An answer of the guard's that took longer makes its deadline too early: it is told once more.
const LATE: Duration = Duration::from_millis(100);

/// The lines that close a ledger. Writing them may block for as long as our own disk stands still.
#[derive(Debug)]
pub struct Closing {
    lines: Vec<Line>,
    file: LedgerFile,
}

impl Closing {
    /// Writes them.
    ///
    /// # Errors
    /// What the system gives: then `recover` finds the entries armed, and undoes what is undone already.
    pub fn write(mut self) -> io::Result<()> {
        self.lines.iter().try_for_each(|line| self.file.append(line, false))
    }
}

/// What is armed, and since when something stands still.
#[derive(Debug)]
pub struct Book {
    /// The audit record, shared by all workloads.
    pub audit: Audit,
    ledger: RefCell<Ledger>,
    file: RefCell<LedgerFile>,
    /// Closing lines: written after the thaw, because while anything is frozen nothing of ours touches a disk.
    closing: RefCell<Vec<Line>>,
    guard: Mutex<Option<Guard>>,
    /// Closing lines that the guard has not been told.
    untold: RefCell<Vec<String>>,
    limit: Cell<Duration>,
    first_freeze: Cell<Option<Instant>>,
    last_undo: Cell<Option<Instant>>,
    began: Notify,
    /// Of the workloads that prepare, or freeze: each has come when it is about to hold something, or is at its end.
    pub gathering: Gathering,
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
            audit: Audit::default(),
            ledger: RefCell::new(ledger),
            file: RefCell::new(file),
            closing: RefCell::default(),
            guard: Mutex::default(),
            untold: RefCell::default(),
            limit: Cell::new(Duration::from_secs(86_400)),
            first_freeze: Cell::new(None),
            last_undo: Cell::new(None),
            began: Notify::new(),
            gathering: Gathering::default(),
        }
    }

    /// From here on a guard watches, and `limit` after the first freezing statement it thaws by itself.
    pub async fn watched_by(&self, guard: Guard, limit: Duration) {
        self.limit.set(limit);
        *self.guard.lock().await = Some(guard);
    }

    /// Writes an undo down, on disk where the freeze lasts there, and tells the guard. Only then may its freeze be sent.
    ///
    /// # Errors
    /// What the system gives: then the freeze must not be sent.
    pub async fn arm(&self, entry: Entry) -> io::Result<()> {
        crash::may_fail(Step::Arming)?;
        let lasts = entry.lasts;
        let Some(line) = self.ledger.borrow_mut().arm(entry) else { return Ok(()) };
        let armed = async {
            self.write(&line, lasts).await?;
            crash::step(Step::Written);
            self.tell_guard(&line).await?;
            crash::step(Step::Armed);
            io::Result::Ok(())
        }
        .await;
        if let (Err(_), Line::Armed(entry)) = (&armed, &line) {
            self.taken_back("never sent", |e| e.number == entry.number);
        }
        armed
    }

    async fn write(&self, line: &Line, lasts: Lasts) -> io::Result<()> {
        // On a thread of its own: a disk that hangs must not stop the clock.
        let mut file = self.file.borrow().again()?;
        let line = line.clone();
        tokio::task::spawn_blocking(move || file.append(&line, lasts == Lasts::Disk))
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e)))
    }

    async fn tell_guard(&self, line: &Line) -> io::Result<()> {
        let mut guard = self.guard.lock().await;
        let guard = guard.as_mut().ok_or_else(|| io::Error::other("there is no guard"))?;
        // The new line is armed in memory already: a guard that has to be replaced is told it twice, which is no harm.
        let armed = self.armed_lines();
        self.tell_undone(Some(guard));
        guard.tell(&Packet::Armed(file::line(line)?.as_bytes()), &armed).await?;
        if self.first_freeze.get().is_none() {
            for _ in 0..3 {
                let asked = Instant::now();
                guard.tell(&Packet::Deadline(boot::now() + self.limit.get()), &armed).await?;
                if asked.elapsed() < LATE {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Tells the guard about the filesystem of this number.
    ///
    /// # Errors
    /// When no guard can be told.
    pub async fn tell_filesystem(&self, packet: Packet<'_>) -> io::Result<()> {
        let armed = self.armed_lines();
        match self.guard.lock().await.as_mut() {
            Some(guard) => guard.tell(&packet, &armed).await,
            None => Err(io::Error::other("there is no guard")),
        }
    }

    fn armed_lines(&self) -> Vec<String> {
        let ledger = self.ledger.borrow();
        let mut lines: Vec<String> =
            ledger.armed().filter_map(|e| file::line(&Line::Armed(Box::new(e.clone()))).ok()).collect();
        lines.reverse();
        lines
    }

    /// The keeper thaws: the guard gives it some time. No undo waits for its answer.
    pub fn releases(&self) {
        if let Ok(guard) = self.guard.try_lock()
            && let Some(guard) = guard.as_ref()
        {
            guard.releases(boot::now() + THAW);
        }
    }

    /// Watches the guard, and puts another in its place when it is gone. Ends when none can be had: then everything must be
    /// thawed.
    pub async fn watch_guard(&self, events: &Events) {
        let mut guard = self.guard.lock().await;
        let Some(guard) = guard.as_mut() else { return std::future::pending().await };
        loop {
            guard.is_gone().await;
            let armed = self.armed_lines();
            self.untold.borrow_mut().clear();
            if let Err(e) = guard.replace(&armed).await {
                events.publish("guard.lost", None, serde_json::json!({ "why": e.to_string() }));
                return;
            }
            events.publish("guard.replaced", None, serde_json::json!({}));
        }
    }

    /// Tells the guard all that was undone. What is still armed it tries to take back, by its own means, and ends; what it
    /// could is then disarmed here. Waits for no disk.
    pub async fn settle(&self) {
        let mut held = self.guard.lock().await;
        let Some(guard) = held.as_mut() else { return };
        // There is room when it has answered.
        while !self.untold.borrow().is_empty() && guard.answers().await {
            self.tell_undone(Some(guard));
        }
        if !self.is_armed() {
            return;
        }
        let mut still = guard.hand_over().await;
        // One that was lost meanwhile is replaced only here: no undo of the keeper's waited for that.
        if still.is_none() && guard.replace(&self.armed_lines()).await.is_ok() {
            still = guard.hand_over().await;
        }
        if let Some(still) = still {
            for entry in self.ledger.borrow().armed() {
                let how = if still.contains(&entry.number) { "failed" } else { "by the guard" };
                self.audit.undo(entry, Who::Guard, how);
            }
            let gone = self.ledger.borrow_mut().disarm("by the guard", |e| !still.contains(&e.number));
            if !gone.is_empty() {
                self.last_undo.set(Some(Instant::now()));
                self.closing.borrow_mut().extend(gone);
            }
        }
        *held = None;
    }

    /// Ends the guard: everything is written down.
    pub async fn end_guard(&self) {
        if let Some(guard) = self.guard.lock().await.take() {
            guard.end().await;
        }
    }

    /// A freezing statement is sent now.
    pub fn sends_freeze(&self) {
        if self.first_freeze.get().is_none() {
            self.first_freeze.set(Some(Instant::now()));
            self.began.notify_one();
        }
    }

    /// What `done` accepts is no longer frozen.
    pub fn taken_back(&self, how: &str, done: impl Fn(&Entry) -> bool) {
        self.ledger.borrow().armed().filter(|e| done(e)).for_each(|e| self.audit.undo(e, Who::Keeper, how));
        let lines = self.ledger.borrow_mut().disarm(how, done);
        if !lines.is_empty() {
            self.last_undo.set(Some(Instant::now()));
            self.untold.borrow_mut().extend(lines.iter().filter_map(|l| file::line(l).ok()));
            if let Ok(guard) = self.guard.try_lock() {
                self.tell_undone(guard.as_ref());
            }
            self.closing.borrow_mut().extend(lines);
        }
    }

    /// Tells the guard what was undone, as far as there is room.
    fn tell_undone(&self, guard: Option<&Guard>) {
        let mut untold = self.untold.borrow_mut();
        match guard {
            Some(guard) => {
                let told = untold.iter().take_while(|line| guard.undone(line)).count();
                untold.drain(..told);
            }
            None => untold.clear(),
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

    /// The closing lines. Called after the thaw.
    ///
    /// # Errors
    /// What the system gives.
    pub fn closing(&self) -> io::Result<Closing> {
        let lines = std::mem::take(&mut *self.closing.borrow_mut());
        Ok(Closing { lines, file: self.file.borrow().again()? })
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

    /// From the first freezing statement of any kind to the last undo acknowledged.
    pub fn frozen_for(&self) -> Option<Duration> {
        Some(self.last_undo.get()?.saturating_duration_since(self.first_freeze.get()?))
    }
}
