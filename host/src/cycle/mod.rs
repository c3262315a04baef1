//! One cycle: check, prepare, freeze, hold, thaw, verdict.
//!
//! The order within a phase, what may fail, and what is taken back are decided here; the module only does its part.

pub mod book;
pub mod engine;
pub mod point;
pub mod record;
mod thaw;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use stillpoint_contract::manifest::{Expected, Stops};
use stillpoint_contract::message::{Coordinate, Level, Outcome, Phase, Plan, Value};
use tokio::time::{Instant, timeout_at};

use crate::broker::Broker;
use crate::config::{Configuration, OnFailure, Workload};
use crate::events::Events;
use crate::fault::{Exit, Fault};
use crate::trust::Verified;
use book::Book;
use engine::{Engine, Stopped};
use point::PointFile;
use record::{Finding, Kind, Phases, Point, Record, Verdict, WorkloadRecord, microseconds};

/// How long a statement of ours may take once the writers wait, on top of what the server was told to bound.
const SLACK: Duration = Duration::from_millis(500);

/// The most of each that is taken from a module.
const MOST_FINDINGS: usize = 200;
const MOST_COORDINATES: usize = 32;

const NOT_THIS_SNAPSHOT: &str = "this module gives no consistent copy under the kind of snapshot that is configured";

/// One workload in its cycle.
pub struct Run {
    broker: Broker,
    engine: Option<Engine>,
    component: Vec<u8>,
    plan: Plan,
    phases: Phases,
    database_version: String,
    findings: Vec<Finding>,
    paths: Vec<PathBuf>,
    durable: bool,
    point_file: Option<PointFile>,
    point: Vec<Coordinate>,
    frozen_at: Option<Instant>,
    thawed_at: Option<Instant>,
    /// It stands still now.
    stands: bool,
    /// It stood still when the agent was told.
    stood: bool,
    faults: Vec<Fault>,
    reason: Option<String>,
}

/// One cycle.
pub struct Cycle {
    /// Its id.
    pub id: String,
    /// What the operator asked for.
    pub configuration: Configuration,
    /// The ledger and the clock.
    pub book: Rc<Book>,
    runs: Vec<Run>,
    events: Events,
    began: Timestamp,
    frozen: Option<Timestamp>,
    released: Option<Timestamp>,
    thawed: Option<Timestamp>,
    released_by: Option<String>,
    faults: Vec<Fault>,
}

impl Cycle {
    /// Puts a cycle together from what was read and verified. Nothing is started.
    ///
    /// # Errors
    /// `SP-IPC-…`.
    pub fn new(
        id: String,
        configuration: Configuration,
        modules: Vec<Verified>,
        book: Rc<Book>,
        events: Events,
    ) -> Result<Cycle, Fault> {
        let mut runs = Vec::new();
        for (workload, module) in configuration.workloads.iter().zip(modules) {
            runs.push(Run::new(&id, &configuration.path, configuration.timeout, workload, &module, &book, &events)?);
        }
        Ok(Cycle {
            id,
            configuration,
            book,
            runs,
            events,
            began: Timestamp::now(),
            frozen: None,
            released: None,
            thawed: None,
            released_by: None,
            faults: Vec::new(),
        })
    }

    /// Runs check on every workload. True when a freeze would work.
    pub async fn check(&mut self) -> bool {
        self.events.publish("cycle.check", None, serde_json::json!({ "cycle": self.id }));
        join_all(self.runs.iter_mut().map(Run::check)).await;
        self.runs.iter().all(|r| r.faults.is_empty())
    }

    /// Check, prepare and freeze. True when the agent may snapshot.
    pub async fn freeze(&mut self) -> bool {
        let abort = self.configuration.workloads.iter().any(|w| w.on_failure == OnFailure::Abort);
        let passed = self.check().await;
        if !passed && abort {
            return false;
        }
        self.events.publish("cycle.prepare", None, serde_json::json!({ "cycle": self.id }));
        let cycle = self.id.clone();
        join_all(self.runs.iter_mut().filter(|r| r.faults.is_empty()).map(|r| r.prepare(&cycle))).await;
        if abort && self.runs.iter().any(|r| !r.faults.is_empty()) {
            return false;
        }
        self.events.publish("cycle.freeze", None, serde_json::json!({ "cycle": self.id }));
        self.take_back_failed().await;
        for order in self.orders() {
            let group = self.runs.iter_mut().filter(|r| r.faults.is_empty() && r.broker.workload.order == order);
            join_all(group.map(Run::freeze)).await;
            if !abort {
                self.take_back_failed().await;
            } else if self.runs.iter().any(|r| !r.faults.is_empty()) {
                return false;
            }
        }
        if self.runs.iter().all(|r| !r.stands) || (abort && self.runs.iter().any(|r| !r.stands)) {
            return false;
        }
        self.frozen = Some(Timestamp::now());
        true
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

    /// Takes back what failed workloads hold: nobody waits for them to the end of the hold.
    async fn take_back_failed(&mut self) {
        join_all(self.runs.iter_mut().filter(|r| !r.faults.is_empty()).map(Run::take_back)).await;
    }

    /// The orders in which workloads freeze, the first first.
    fn orders(&self) -> std::collections::BTreeSet<u32> {
        self.runs.iter().map(|r| r.broker.workload.order).collect()
    }

    /// Proves the hold and takes back everything that is armed, whatever failed before.
    pub async fn thaw(&mut self, why: &Release) {
        self.released = Some(Timestamp::now());
        self.released_by = Some(why.to_string());
        if self.frozen.is_none() && *why != Release::NotFrozen {
            let fault = Fault::new("SP-CYCLE-012", Exit::NotFrozen, format!("the freeze was given up, by {why}."));
            self.faults.push(fault.done("Everything is thawed."));
        }
        for order in self.orders().into_iter().rev() {
            let group = self.runs.iter_mut().filter(|r| r.broker.workload.order == order);
            join_all(group.map(|r| r.thaw(why))).await;
        }
        self.thawed = Some(Timestamp::now());
        let data = serde_json::json!({ "cycle": self.id, "released_by": self.released_by });
        self.events.publish("cycle.thawed", None, data);
    }

    /// Ends clients and engines, and writes the ledger's closing lines.
    pub async fn close(&mut self) {
        join_all(self.runs.iter_mut().map(Run::close)).await;
        if let Err(e) = self.book.close() {
            self.faults.push(
                Fault::new(
                    "SP-CYCLE-008",
                    Exit::Internal,
                    format!("the ledger's closing lines could not be written: {e}."),
                )
                .next("run  stillpoint recover  once the disk can be written again"),
            );
        }
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
        } else if verdict == Verdict::ApplicationConsistent {
            Exit::Done
        } else {
            Exit::Inconsistent
        };
        Record {
            cycle: self.id.clone(),
            exit,
            verdict,
            kind,
            began_at: self.began.to_string(),
            frozen_at: self.frozen.map(|t| t.to_string()),
            released_at: self.released.map(|t| t.to_string()),
            thawed_at: self.thawed.map(|t| t.to_string()),
            released_by: self.released_by.clone(),
            standstill_us: self.book.standstill().map(microseconds),
            frozen_us: self.book.frozen_for().map(microseconds),
            timeout_s: self.configuration.timeout.as_secs(),
            workloads,
            warnings: self.configuration.warnings.clone(),
            faults: self.faults.clone(),
            command: None,
        }
    }
}

/// Why a thaw began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The agent said that the snapshot is cut.
    Asked,
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
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Release::Asked => "the agent",
            Release::Expired => "the timeout",
            Release::AgentLost => "the loss of the agent",
            Release::Abandoned => "a signal to the agent",
            Release::Signal => "a signal",
            Release::NotFrozen => "a failed freeze",
        })
    }
}

impl Run {
    fn new(
        cycle: &str,
        configuration: &Path,
        timeout: Duration,
        workload: &Workload,
        module: &Verified,
        book: &Rc<Book>,
        events: &Events,
    ) -> Result<Run, Fault> {
        let milliseconds = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let plan = Plan {
            cycle: cycle.into(),
            workload: workload.name.clone(),
            databases: workload.databases.clone(),
            snapshot: workload.snapshot,
            stall_budget: milliseconds(workload.stall_budget),
            timeout: milliseconds(timeout),
        };
        let broker = Broker::new(
            workload.clone(),
            module.manifest().clone(),
            configuration.to_owned(),
            Rc::clone(book),
            events.clone(),
        )?;
        Ok(Run {
            broker,
            engine: None,
            component: module.wasm().to_vec(),
            plan,
            phases: Phases::default(),
            database_version: String::new(),
            findings: Vec::new(),
            paths: Vec::new(),
            durable: false,
            point_file: None,
            point: Vec::new(),
            frozen_at: None,
            thawed_at: None,
            stands: false,
            stood: false,
            faults: Vec::new(),
            reason: None,
        })
    }

    fn name(&self) -> String {
        self.broker.workload.name.clone()
    }

    /// Time for check and prepare: the module's limit.
    fn slow_deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(u64::from(self.broker.manifest.limits.prepare_seconds))
    }

    async fn check(&mut self) {
        let began = Instant::now();
        if let Err(fault) = self.try_check().await {
            self.faults.push(fault);
        }
        self.phases.check_us = microseconds(began.elapsed());
    }

    async fn try_check(&mut self) -> Result<(), Fault> {
        let name = self.name();
        let memory = u64::from(self.broker.manifest.limits.memory_mib) * 1024 * 1024;
        self.engine = Some(engine::start(&name, &self.component, memory).await?);
        self.component = Vec::new();
        // A login that is not answered is not waited for as long as a slow check.
        let login = Instant::now() + Duration::from_secs(10).min(self.broker.workload.timeout);
        self.broker.connect(login).await?;
        let deadline = self.slow_deadline();
        match self.call(Phase::Check, deadline).await? {
            Outcome::Report { mut version, mut findings } => {
                shorten(&mut version);
                self.database_version = version;
                findings.truncate(MOST_FINDINGS);
                for mut finding in findings {
                    shorten(&mut finding.text);
                    let level = match finding.level {
                        Level::Note => "note",
                        Level::Warning => "warning",
                        Level::Problem => {
                            self.faults.push(
                                Fault::new(
                                    "SP-DB-010",
                                    Exit::NotFrozen,
                                    format!("{}.", finding.text.trim_end_matches('.')),
                                )
                                .of(&name)
                                .done("It was not frozen."),
                            );
                            "problem"
                        }
                    };
                    self.findings.push(Finding { level: level.into(), text: finding.text });
                }
            }
            _ => return Err(self.unexpected(Phase::Check)),
        }
        if !self.broker.manifest.snapshots.contains(&self.plan.snapshot) {
            let text = format!(
                "{}: the verdict will be crash-consistent. Say  snapshot =  what the agent really does",
                NOT_THIS_SNAPSHOT
            );
            self.findings.push(Finding { level: "warning".into(), text });
        }
        self.durable = self.ask_durable(deadline).await?;
        self.paths = crate::sys::disk::one_for_each_filesystem(self.ask_paths(deadline).await?);
        Ok(())
    }

    async fn prepare(&mut self, cycle: &str) {
        let began = Instant::now();
        if let Err(fault) = self.try_prepare(cycle).await {
            self.faults.push(fault);
        }
        self.phases.prepare_us = microseconds(began.elapsed());
    }

    async fn try_prepare(&mut self, cycle: &str) -> Result<(), Fault> {
        let name = self.name();
        let deadline = self.slow_deadline();
        // Before the module prepares: it may already hold something when it returns.
        if let Some(folder) = self.broker.state().cloned() {
            let made = timeout_at(deadline, PointFile::make(folder, cycle, &name)).await;
            let made = made.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            self.point_file = Some(made.map_err(|e| not_recorded(&name, &e))?);
        }
        self.sync(deadline).await?;
        match self.call(Phase::Prepare, deadline).await? {
            Outcome::Nothing => {}
            _ => return Err(self.unexpected(Phase::Prepare)),
        }
        if !self.durable && self.broker.book.armed(&name).is_empty() {
            self.sync(deadline).await?;
        }
        Ok(())
    }

    async fn freeze(&mut self) {
        let began = Instant::now();
        if let Err(fault) = self.try_freeze(began + self.broker.workload.stall_budget + SLACK).await {
            self.faults.push(fault);
        }
        self.phases.freeze_us = microseconds(began.elapsed());
        self.frozen_at = Some(Instant::now());
    }

    async fn try_freeze(&mut self, deadline: Instant) -> Result<(), Fault> {
        let name = self.name();
        match self.call(Phase::Freeze, deadline).await? {
            // More than 4 KiB of it is refused where it is written.
            Outcome::Point(point) => self.point = point.into_iter().take(MOST_COORDINATES).collect(),
            _ => return Err(self.unexpected(Phase::Freeze)),
        }
        if let Some(why) = self.froze_too_little() {
            return Err(Fault::new("SP-MODULE-003", Exit::NotFrozen, format!("freeze ended well, but {why}."))
                .of(&name)
                .done("What it froze is thawed.")
                .next("report it to the module's author"));
        }
        self.broker.files_are_open().map_err(|what| {
            let fault = Fault::new("SP-DB-021", Exit::NotFrozen, format!("{what}.")).of(&name);
            fault.done("It is thawed.").next("see who replaces database files while a backup runs")
        })?;
        self.broker.take_proofs(deadline).await.map_err(|e| {
            Fault::new("SP-DB-020", Exit::NotFrozen, format!("the freeze could not be proved: {e}."))
                .of(&name)
                .done("It is thawed.")
        })?;
        if let Some(file) = &self.point_file {
            let written = timeout_at(deadline, file.write(&self.point, Timestamp::now())).await;
            written
                .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
                .map_err(|e| not_recorded(&name, &e))?;
        }
        if !self.durable {
            self.sync(deadline).await?;
        }
        self.stands = true;
        self.stood = true;
        Ok(())
    }

    fn froze_too_little(&self) -> Option<String> {
        let missing = self.broker.not_covered();
        if self.broker.frozen.is_empty() {
            Some("its module froze nothing".into())
        } else if !self.broker.frozen.iter().any(|f| f.stops == Stops::Writes || f.recoverable) {
            Some("its module froze nothing that makes a copy consistent".into())
        } else if self.broker.is_waiting() {
            Some("a statement has not been answered yet".into())
        } else if missing.is_empty() {
            None
        } else {
            Some(format!("its module froze nothing in {}", missing.join(", ")))
        }
    }

    async fn call(&mut self, phase: Phase, deadline: Instant) -> Result<Outcome, Fault> {
        let name = self.name();
        let Some(engine) = self.engine.as_mut() else {
            return Err(Fault::new("SP-ENGINE-001", Exit::Internal, "there is no engine.").of(name));
        };
        engine.call(phase, &self.plan, deadline, &mut self.broker).await.map_err(|stopped| {
            let id = match &stopped {
                Stopped::Failed(_) => "SP-DB-014",
                Stopped::Broken(_) => "SP-MODULE-001",
                Stopped::Gone(_) => "SP-ENGINE-003",
            };
            let mut why = stopped.to_string();
            shorten(&mut why);
            let what = format!("{phase} failed: {}.", why.trim_end_matches('.'));
            let done = if phase == Phase::Check { "Nothing was frozen." } else { "What it held is taken back." };
            let fault = Fault::new(id, Exit::NotFrozen, what).of(name).done(done);
            if matches!(stopped, Stopped::Failed(_)) { fault } else { fault.next("report it to the module's author") }
        })
    }

    fn unexpected(&self, phase: Phase) -> Fault {
        Fault::new("SP-MODULE-002", Exit::NotFrozen, format!("{phase} returned what another phase returns."))
            .of(self.name())
    }

    async fn ask_durable(&mut self, deadline: Instant) -> Result<bool, Fault> {
        let Some(durable) = self.broker.manifest.data.durable.clone() else { return Ok(false) };
        let rows = self
            .broker
            .ask(&durable.statement, None, &[], deadline)
            .await
            .map_err(|e| self.unknown_data(&e.to_string()))?;
        let got = rows.first().and_then(|r| r.first());
        Ok(match (got, &durable.answer) {
            (Some(Value::Integer(n)), Expected::Integer(want)) => n == want,
            (Some(Value::Text(t)), Expected::Text(want)) => t == want,
            _ => false,
        })
    }

    async fn ask_paths(&mut self, deadline: Instant) -> Result<Vec<PathBuf>, Fault> {
        let Some(paths) = self.broker.manifest.data.paths.clone() else {
            return Ok(self.broker.workload.databases.iter().map(PathBuf::from).collect());
        };
        let rows = self.broker.ask(&paths, None, &[], deadline).await.map_err(|e| self.unknown_data(&e.to_string()))?;
        let text = rows.into_iter().filter_map(|r| match r.into_iter().next() {
            Some(Value::Text(t)) => Some(PathBuf::from(t)),
            _ => None,
        });
        Ok(text.collect())
    }

    fn unknown_data(&self, why: &str) -> Fault {
        Fault::new("SP-DB-011", Exit::NotFrozen, format!("where its data lies could not be asked: {why}."))
            .of(self.name())
            .done("It was not frozen.")
    }

    /// Syncs the filesystems that hold the data, on a thread of its own.
    async fn sync(&self, deadline: Instant) -> Result<(), Fault> {
        let paths = self.paths.clone();
        let synced = tokio::task::spawn_blocking(move || {
            paths
                .iter()
                .try_for_each(|p| crate::sys::disk::sync_filesystem(p).map_err(|e| format!("{}: {e}", p.display())))
        });
        match timeout_at(deadline, synced).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(why))) => Err(self.not_synced(&why)),
            Ok(Err(e)) => Err(self.not_synced(&e.to_string())),
            Err(_) => Err(self.not_synced("it took too long")),
        }
    }

    fn not_synced(&self, why: &str) -> Fault {
        Fault::new("SP-DB-012", Exit::NotFrozen, format!("the filesystem of its data could not be synced: {why}."))
            .of(self.name())
    }

    async fn close(&mut self) {
        if let Some(engine) = self.engine.as_mut() {
            engine.kill();
        }
        let sessions = std::mem::take(&mut self.broker.sessions);
        join_all(sessions.into_values().map(crate::client::session::Session::close)).await;
    }

    fn record(&self, cycle: &Cycle) -> WorkloadRecord {
        let (verdict, kind, reason) = self.verdict(cycle);
        let stopped = self.broker.writes_stopped;
        let standstill = stopped.zip(self.thawed_at).map(|(from, to)| microseconds(to.saturating_duration_since(from)));
        WorkloadRecord {
            name: self.name(),
            module: self.broker.manifest.name.clone(),
            version: self.broker.manifest.version.clone(),
            database: self.database_version.clone(),
            verdict,
            kind,
            reason,
            durable: self.durable,
            point: self.point.iter().map(|c| Point { name: c.name.clone(), value: c.value.clone() }).collect(),
            phases: self.phases,
            standstill_us: standstill,
            findings: self.findings.clone(),
            log: self.broker.log.iter().map(|l| format!("{}: {}", l.phase, l.text)).collect(),
            faults: self.faults.clone(),
        }
    }

    fn verdict(&self, cycle: &Cycle) -> (Verdict, Option<Kind>, Option<String>) {
        let crash = |why: String| (Verdict::CrashConsistent, None, Some(why));
        if cycle.frozen.is_none() || !self.stood {
            let why = self.faults.first().map_or("it was not frozen".into(), |f| f.what.clone());
            return (Verdict::Failed, None, Some(why));
        }
        if let Some(reason) = &self.reason {
            return crash(reason.clone());
        }
        if !self.broker.manifest.snapshots.contains(&self.plan.snapshot) {
            return crash(NOT_THIS_SNAPSHOT.into());
        }
        if let Some(why) = self.froze_too_little() {
            return crash(why);
        }
        let still = self.broker.frozen.iter().any(|f| f.stops == Stops::Writes);
        (Verdict::ApplicationConsistent, Some(if still { Kind::Still } else { Kind::Recoverable }), None)
    }
}

/// What a module says is kept short: it ends up in every record and on somebody's screen.
fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(2000));
}

fn not_recorded(workload: &str, why: &std::io::Error) -> Fault {
    Fault::new(
        "SP-IPC-011",
        Exit::NotFrozen,
        format!("the recovery point could not be written into ipc_folder: {why}."),
    )
    .of(workload)
    .done("It is not frozen.")
    .next("see whether the folder's filesystem is full or read-only")
}
