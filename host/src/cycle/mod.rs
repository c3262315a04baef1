//! One cycle: check, prepare, freeze, hold, thaw, verdict.
//!
//! The order within a phase, what may fail, and what is taken back are decided here; the module only does its part.

pub mod book;
mod data;
pub mod engine;
mod filesystems;
pub mod gathering;
pub mod point;
pub mod record;
mod run;
mod syncs;
mod thaw;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use crate::audit;
use crate::client::session::Session;
use crate::compiled::Store;
use crate::config::Configuration;
use crate::crash::{self, Step};
use crate::events::Events;
use crate::fault::{Exit, Fault};
use crate::guard::packet::AtHand;
use crate::guard::{self, Guard};
use crate::trust::Verified;
use book::Book;
use filesystems::Filesystems;
use record::{Record, Verdict, WorkloadRecord, microseconds};
use run::{GivenUp, Run, Together};
use syncs::Syncs;

/// How long those of one order are waited for before the next are thawed.
const NEXT_ORDER: Duration = Duration::from_millis(250);

/// One cycle.
pub struct Cycle {
    /// Its id.
    pub id: String,
    /// What the operator asked for.
    pub configuration: Configuration,
    /// The ledger and the clock.
    pub book: Rc<Book>,
    runs: Vec<Run>,
    filesystems: Filesystems,
    guard: Option<(guard::process::Start, File)>,
    events: Events,
    began: Timestamp,
    frozen: Option<Timestamp>,
    released: Option<Timestamp>,
    thawed: Option<Timestamp>,
    released_by: Option<Release>,
    faults: Vec<Fault>,
}

impl Cycle {
    /// Puts a cycle together from what was read and verified; what was compiled is kept in `store`. Nothing is started.
    ///
    /// # Errors
    /// `SP-IPC-…`.
    pub fn new(
        id: String,
        configuration: Configuration,
        modules: Vec<Verified>,
        store: &Store,
        book: Rc<Book>,
        events: Events,
    ) -> Result<Cycle, Fault> {
        let (mut runs, syncs) = (Vec::new(), Syncs::default());
        for (workload, module) in configuration.workloads.iter().zip(modules) {
            let mut run = Run::new(&id, &configuration, workload, &module, store, &book, &events)?;
            run.syncs = syncs.clone();
            runs.push(run);
        }
        Ok(Cycle {
            id,
            configuration,
            book,
            runs,
            filesystems: Filesystems::default(),
            guard: None,
            events,
            began: Timestamp::now(),
            frozen: None,
            released: None,
            thawed: None,
            released_by: None,
            faults: Vec::new(),
        })
    }

    /// Opens the filesystems of the configuration. `ours` are the paths that we write to or run from.
    ///
    /// # Errors
    /// `SP-FS-…`.
    pub fn open_filesystems(&mut self, ours: &[PathBuf]) -> Result<(), Fault> {
        self.filesystems = Filesystems::open(&self.configuration.filesystems, ours)?;
        Ok(())
    }

    /// How its guard is to be started: before anything is frozen. Without this nothing can be.
    pub fn guarded_by(&mut self, start: guard::process::Start, lock: File) {
        self.guard = Some((start, lock));
    }

    /// Runs check on every workload. True when a freeze would work.
    pub async fn check(&mut self) -> bool {
        self.events.publish("cycle.check", None, serde_json::json!({ "cycle": self.id }));
        join_all(self.runs.iter_mut().map(Run::check)).await;
        self.find_twins();
        self.runs.iter().all(|r| r.faults.is_empty())
    }

    /// Two workloads that turn out to be one server, or one file, would wait for each other.
    fn find_twins(&mut self) {
        for i in 1..self.runs.len() {
            let (before, rest) = self.runs.split_at_mut(i);
            let Some(run) = rest.first_mut() else { continue };
            if let Some(twin) = before.iter().find(|other| other.broker.is_the_same_as(&run.broker)) {
                let what = format!("it is the same database as {}.", twin.name());
                run.faults.push(
                    Fault::new("SP-DB-006", Exit::NotFrozen, what)
                        .of(run.name())
                        .done("It was not frozen.")
                        .next("keep one of the two sections"),
                );
            }
        }
    }

    /// Starts the guard, with all that it will need at hand.
    async fn start_guard(&mut self) -> Result<(), Fault> {
        let Some((start, lock)) = self.guard.take() else { return Ok(()) };
        let filesystems = AtHand { sessions: Vec::new(), filesystems: self.filesystems.all() };
        let healthy = self.runs.iter().filter(|r| r.faults.is_empty());
        let sessions = healthy.map(|r| AtHand { sessions: r.broker.for_the_guard(), filesystems: Vec::new() });
        let at_hand = std::iter::once(filesystems).chain(sessions).collect();
        let guard = Guard::start(start, at_hand, &lock).await.map_err(|e| {
            Fault::new("SP-GUARD-002", Exit::NotFrozen, format!("there is no guard: {e}."))
                .done("Nothing was frozen.")
                .next("see whether the database accepts one more connection, and the machine one more process")
        })?;
        if !guard.is_apart() {
            let what = "the guard has no unit of its own: what ends the keeper's unit ends the guard, too.";
            let next = "see whether  busctl  reaches the service manager, as root";
            self.warn(Fault::new("SP-GUARD-005", Exit::Internal, what).next(next));
        }
        self.book.watched_by(guard, self.configuration.timeout).await;
        Ok(())
    }

    /// Check, prepare and freeze. True when the agent may snapshot.
    pub async fn freeze(&mut self) -> bool {
        self.check().await;
        if self.must_give_up() {
            return false;
        }
        // What is sent from here on may be lost with the keeper; what was sent before is not.
        if let Some(writing) = self.book.audit.hand_over()
            && let Ok(Err(e)) = tokio::task::spawn_blocking(move || writing.write()).await
        {
            self.faults.push(audit::not_written(&e).done("Nothing was frozen."));
            return false;
        }
        crash::step(Step::Checked);
        if let Err(fault) = self.start_guard().await {
            self.faults.push(fault);
            return false;
        }
        crash::step(Step::Guarded);
        self.events.publish("cycle.prepare", None, serde_json::json!({ "cycle": self.id }));
        self.book.gathering.begin(self.runs.iter().filter(|r| r.faults.is_empty()).count());
        join_all(self.runs.iter_mut().filter(|r| r.faults.is_empty()).map(Run::prepare)).await;
        if self.must_give_up() {
            return false;
        }
        crash::step(Step::Prepared);
        self.events.publish("cycle.freeze", None, serde_json::json!({ "cycle": self.id }));
        self.take_back_failed().await;
        for order in self.orders() {
            if self.freeze_together(order).await.is_err() {
                return false;
            }
        }
        // Whoever does not stand has failed; asked once more, because the agent is told next.
        if self.must_give_up() || self.runs.iter().any(|r| !r.stands && r.must_freeze()) {
            return false;
        }
        crash::step(Step::AllFrozen);
        let budget = self.runs.iter().map(|r| r.broker.workload.stall_budget).max().unwrap_or_default();
        if let Err(fault) = self.filesystems.freeze(&self.book, Instant::now() + budget).await {
            self.faults.push(fault);
            return false;
        }
        self.frozen = Some(Timestamp::now());
        true
    }

    /// Freezes all of one order beside each other.
    ///
    /// # Errors
    /// When there will be no snapshot: then the others stand still for nothing, and what is still under way is dropped, and
    /// taken back by the host.
    async fn freeze_together(&mut self, order: (u32, bool)) -> Result<(), GivenUp> {
        let writers_wait = self.runs.iter().any(|r| r.stands && r.broker.writes_stopped.is_some());
        let group = self.runs.iter_mut().filter(|r| r.faults.is_empty() && r.order() == order);
        let group: Vec<&mut Run> = group.collect();
        self.book.gathering.begin(group.len());
        let together = Together::new(&group, writers_wait);
        let mut freezing: FuturesUnordered<_> = group.into_iter().map(|run| run.freeze(&together)).collect();
        while freezing.try_next().await?.is_some() {}
        Ok(())
    }

    /// Ends when `timeout` has passed since the first freezing statement.
    pub fn expired(&self) -> impl Future<Output = ()> + use<> {
        let (book, limit) = (Rc::clone(&self.book), self.configuration.timeout);
        async move { book.expired(limit).await }
    }

    /// What could not be frozen.
    pub fn failed(&self) -> Vec<Fault> {
        self.runs.iter().flat_map(|r| r.faults.iter().cloned()).collect()
    }

    /// Something that the operator must know beside the verdict.
    pub fn warn(&mut self, warning: Fault) {
        self.configuration.warnings.push(warning);
    }

    /// Whether there is nothing left to snapshot, or one failed without which it must not be.
    fn must_give_up(&self) -> bool {
        let mut failed = self.runs.iter().filter(|r| !r.faults.is_empty());
        failed.clone().count() == self.runs.len() || failed.any(Run::must_freeze)
    }

    /// Why a workload that did not fail itself was not frozen.
    fn given_up(&self) -> String {
        let mut failed = self.runs.iter().filter(|r| !r.faults.is_empty());
        match (failed.find(|r| r.must_freeze()), self.faults.first()) {
            (Some(run), _) => format!("it was given up, because {} could not be frozen", run.name()),
            (None, Some(fault)) => format!("it was given up: {}", fault.what.trim_end_matches('.')),
            (None, None) => "it was not frozen".into(),
        }
    }

    /// Takes back what failed workloads hold: nobody waits for them to the end of the hold.
    async fn take_back_failed(&mut self) {
        join_all(self.runs.iter_mut().filter(|r| !r.faults.is_empty()).map(Run::take_back)).await;
    }

    /// The orders in which workloads freeze, the first first.
    fn orders(&self) -> BTreeSet<(u32, bool)> {
        self.runs.iter().map(Run::order).collect()
    }

    /// Proves the hold and takes back everything that is armed, whatever failed before.
    pub async fn thaw(&mut self, why: &Release) {
        self.released = Some(Timestamp::now());
        self.released_by = Some(*why);
        if self.frozen.is_none() && *why != Release::NotFrozen {
            let fault = Fault::new("SP-CYCLE-012", Exit::NotFrozen, format!("the freeze was given up, by {why}."));
            self.faults.push(fault.done("Everything is thawed."));
        }
        self.book.releases();
        // A database whose filesystem stands still could not even answer.
        let (reason, mut faults) = self.filesystems.thaw(&self.book).await;
        for run in self.runs.iter_mut().filter(|r| r.stands) {
            run.reason.clone_from(&reason);
        }
        self.thaw_in_reverse(why).await;
        faults.extend(self.filesystems.thaw_late(&self.book).await);
        self.faults.extend(faults);
        self.thawed = Some(Timestamp::now());
        let data = serde_json::json!({ "cycle": self.id, "released_by": self.released_by.map(|r| r.to_string()) });
        self.events.publish("cycle.thawed", None, data);
    }

    /// The clients that still take back what counts as taken back: after [`Cycle::close`].
    pub fn unfinished(&mut self) -> Vec<Session> {
        self.runs.iter_mut().flat_map(|r| r.unfinished.drain(..)).collect()
    }

    /// The last frozen first; but one that hangs does not keep the others waiting.
    async fn thaw_in_reverse(&mut self, why: &Release) {
        let mut runs: Vec<&mut Run> = self.runs.iter_mut().collect();
        runs.sort_by_key(|r| std::cmp::Reverse(r.order()));
        let mut thawing = FuturesUnordered::new();
        for group in runs.chunk_by_mut(|a, b| a.order() == b.order()) {
            let order = group.first().map(|r| r.order());
            thawing.push(async move {
                join_all(group.iter_mut().map(|r| r.thaw(why))).await;
                order
            });
            let all_of_it = async { while thawing.next().await.is_some_and(|done| done != order) {} };
            let _ = timeout(NEXT_ORDER, all_of_it).await;
        }
        while thawing.next().await.is_some() {}
    }

    /// Ends clients and engines, and has the guard take back what is still armed. Waits for no disk.
    pub async fn close(&mut self) {
        join_all(self.runs.iter_mut().map(Run::close)).await;
        crash::step(Step::Closing);
        let was_armed = self.book.is_armed();
        self.book.settle().await;
        if was_armed && !self.book.is_armed() {
            let all = self.faults.iter_mut().chain(self.runs.iter_mut().flat_map(|r| &mut r.faults));
            for fault in all.filter(|f| f.exit == Exit::NotThawed) {
                fault.exit = Exit::NotFrozen;
                fault.done = Some("It is over: the guard took it back, or it ended with its server.".into());
                fault.next = Some("see whether the server runs".into());
            }
        }
    }

    /// From the first statement that stops writes to the last undo of a workload whose writes were stopped: in between
    /// somebody may have waited.
    fn standstill(&self) -> Option<Duration> {
        let stopped = || self.runs.iter().filter_map(|r| Some((r.broker.writes_stopped?, r.thawed_at)));
        let from = stopped().map(|(from, _)| from).min()?;
        let to: Option<Vec<Instant>> = stopped().map(|(_, to)| to).collect();
        Some(to?.into_iter().max()?.saturating_duration_since(from))
    }

    /// From the first workload that stood still to the last.
    fn skew(&self) -> Option<Duration> {
        let stood = || self.runs.iter().filter(|r| r.stood).filter_map(|r| r.frozen_at);
        (stood().count() > 1).then(|| Some(stood().max()?.saturating_duration_since(stood().min()?)))?
    }

    /// What the cycle did.
    pub fn record(&self) -> Record {
        let workloads: Vec<WorkloadRecord> = self.runs.iter().map(|r| r.record(self)).collect();
        let verdict = workloads.iter().map(|w| w.verdict).max().unwrap_or(Verdict::Failed);
        let kind = match verdict {
            Verdict::ApplicationConsistent => workloads.iter().filter_map(|w| w.kind).max(),
            _ => None,
        };
        let exit = if self.book.is_armed() {
            Exit::NotThawed
        } else if self.frozen.is_none() {
            let all = self.faults.iter().chain(workloads.iter().flat_map(|w| &w.faults));
            // What the configuration or the trust refused keeps its own code; everything else is a failed freeze.
            all.map(|f| f.exit).find(|e| matches!(e, Exit::Usage | Exit::Untrusted)).unwrap_or(Exit::NotFrozen)
        } else if self.released_by == Some(Release::CommandFailed) {
            Exit::CommandFailed
        } else if verdict == Verdict::ApplicationConsistent {
            Exit::Done
        } else {
            Exit::Inconsistent
        };
        Record {
            cycle: self.id.clone(),
            exit,
            snapshot: Some(self.configuration.snapshot),
            verdict,
            kind,
            began_at: self.began.to_string(),
            frozen_at: self.frozen.map(|t| t.to_string()),
            released_at: self.released.map(|t| t.to_string()),
            thawed_at: self.thawed.map(|t| t.to_string()),
            released_by: self.released_by.map(|r| r.to_string()),
            standstill_us: self.standstill().map(microseconds),
            frozen_us: self.book.frozen_for().map(microseconds),
            skew_us: self.skew().map(microseconds),
            timeout_s: self.configuration.timeout.as_secs(),
            workloads,
            warnings: self.configuration.warnings.clone(),
            faults: self.faults.clone(),
            head: None,
            command: None,
        }
    }
}

/// Why a thaw began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The agent said that the snapshot is cut.
    Asked,
    /// The agent said that its command has failed, which was to cut the snapshot.
    CommandFailed,
    /// `timeout` had passed.
    Expired,
    /// The agent is gone.
    AgentLost,
    /// The agent said that there will be no snapshot.
    Abandoned,
    /// The keeper was told to end.
    Signal,
    /// The freeze failed.
    NotFrozen,
    /// The guard is gone, and no other could be started.
    GuardLost,
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Release::Asked => "the agent",
            Release::CommandFailed => "the agent, whose command failed",
            Release::Expired => "the timeout",
            Release::AgentLost => "the loss of the agent",
            Release::Abandoned => {
                "the agent, which gave the snapshot up (a signal, or its command could not be started)"
            }
            Release::Signal => "a signal",
            Release::NotFrozen => "a failed freeze",
            Release::GuardLost => "the loss of the guard",
        })
    }
}
