//! One workload in its cycle: what is asked of its module, and what is made of the answers.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use stillpoint_contract::manifest::Stops;
use stillpoint_contract::message::{
    Coordinate, LONGEST_POINT, Level, MOST_COORDINATES, MOST_FINDINGS, Outcome, Phase, Plan, StatementError,
};
use tokio::time::{Instant, timeout_at};

use super::Cycle;
use super::book::Book;
use super::engine::{self, Component, Engine, Stopped};
use super::gathering::Gathering;
use super::point::PointFile;
use super::record::{Finding, Kind, Phases, Point, Verdict, WorkloadRecord, microseconds};
use super::syncs::{OneSync, Syncs};
use crate::azure;
use crate::broker::{Broker, Frozen, SessionKey};
use crate::client::session::Session;
use crate::compiled::Store;
use crate::config::{Configuration, OnFailure, Role, Workload};
use crate::crash::{self, Step};
use crate::events::Events;
use crate::fault::{Exit, Fault};
use crate::log_backup;
use crate::sys::disk::Filesystem;
use crate::trust::Verified;

/// How long a statement of ours may take once the writers wait, on top of what the server was told to bound.
const SLACK: Duration = Duration::from_millis(500);

const NOT_THIS_SNAPSHOT: &str = "this module gives no consistent copy under the kind of snapshot that is configured";

/// One failed without which nothing may be snapshotted.
#[derive(Debug)]
pub(super) struct GivenUp;

/// What those of one order share that freeze beside each other.
pub(super) struct Together {
    began: Instant,
    /// Those of an earlier order stand still already.
    writers_wait: bool,
    /// Those whose commits are not on disk by themselves: each has come when it holds, or never will.
    unwritten: Gathering,
    /// Of the filesystems on which these lie.
    syncs: OneSync,
    /// The longest that the freeze of one of these may take.
    longest: Duration,
}

impl Together {
    pub(super) fn new(group: &[&mut Run], writers_wait: bool) -> Together {
        let needing = || group.iter().filter(|r| !r.durable);
        let unwritten = Gathering::default();
        unwritten.begin(needing().count());
        Together {
            began: Instant::now(),
            writers_wait,
            unwritten,
            syncs: OneSync::of(needing().flat_map(|r| &r.filesystems)),
            longest: needing().map(|r| r.longest_freeze()).max().unwrap_or_default(),
        }
    }

    /// Until when these must have been written: from when the first of them may have stopped writes.
    fn written_until(&self, complete_since: Option<Instant>) -> Instant {
        let half = self.began + self.longest / 2;
        let from = if self.writers_wait { self.began } else { complete_since.unwrap_or(half).min(half) };
        from + self.longest
    }
}

/// One workload in its cycle.
pub(super) struct Run {
    pub(super) broker: Broker,
    pub(super) engine: Option<Engine>,
    pub(super) component: Vec<u8>,
    /// Where it is kept, compiled.
    pub(super) store: Store,
    pub(super) plan: Plan,
    pub(super) phases: Phases,
    pub(super) database_version: String,
    /// Primary or replica, where the module can ask.
    pub(super) role: Option<Role>,
    pub(super) findings: Vec<Finding>,
    /// Where all of its data lies.
    pub(super) data: Vec<PathBuf>,
    /// The filesystems on which that is.
    pub(super) filesystems: Vec<Filesystem>,
    /// All workloads' syncs.
    pub(super) syncs: Syncs,
    /// Its commits are on disk by themselves.
    pub(super) durable: bool,
    /// Where logs are copied to, and where below that its own are.
    pub(super) log_destination: Option<PathBuf>,
    pub(super) log_folder: Option<PathBuf>,
    pub(super) point_file: Option<PointFile>,
    pub(super) point: Vec<Coordinate>,
    pub(super) frozen_at: Option<Instant>,
    pub(super) thawed_at: Option<Instant>,
    /// Sessions in which the server still takes back what counts as taken back; and their clients, once the cycle is over.
    pub(super) at_it: Vec<SessionKey>,
    pub(super) unfinished: Vec<Session>,
    /// It stands still now.
    pub(super) stands: bool,
    /// It stood still when the agent was told.
    pub(super) stood: bool,
    pub(super) faults: Vec<Fault>,
    /// The database cannot be held: why. Its snapshot is crash-consistent, and may be taken.
    pub(super) unheld: Option<String>,
    /// The phase that failed last did so because the database refused a statement.
    refused: bool,
    /// Its freeze failed so: who holds it is looked for once nobody waits any more.
    blocked: bool,
    pub(super) reason: Option<String>,
}

impl Run {
    pub(super) fn new(
        cycle: &str,
        configuration: &Configuration,
        workload: &Workload,
        module: &Verified,
        store: &Store,
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
            timeout: milliseconds(configuration.timeout),
        };
        let broker = Broker::new(
            workload.clone(),
            module.manifest().clone(),
            configuration.path.clone(),
            Rc::clone(book),
            events.clone(),
        )?;
        Ok(Run {
            broker,
            engine: None,
            component: module.wasm().to_vec(),
            store: store.clone(),
            plan,
            phases: Phases::default(),
            database_version: String::new(),
            role: None,
            findings: Vec::new(),
            data: Vec::new(),
            filesystems: Vec::new(),
            syncs: Syncs::default(),
            durable: false,
            log_destination: configuration.log_destination.clone(),
            log_folder: None,
            point_file: None,
            point: Vec::new(),
            frozen_at: None,
            thawed_at: None,
            at_it: Vec::new(),
            unfinished: Vec::new(),
            stands: false,
            stood: false,
            faults: Vec::new(),
            unheld: None,
            refused: false,
            blocked: false,
            reason: None,
        })
    }

    pub(super) fn name(&self) -> String {
        self.broker.workload.name.clone()
    }

    /// When it freezes among the others, and thaws in reverse. Those that stop nobody's writes come first within an `order`, so
    /// that no writer waits for them.
    pub(super) fn order(&self) -> (u32, bool) {
        let stops = self.broker.manifest.freezes().any(|(_, s)| s.stops == Some(Stops::Writes));
        (self.broker.workload.order, stops)
    }

    /// Time for check and prepare: the module's limit.
    fn slow_deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(u64::from(self.broker.manifest.limits.prepare_seconds))
    }

    pub(super) async fn check(&mut self) {
        let began = Instant::now();
        if let Err(fault) = self.try_check().await {
            self.faults.push(fault);
        }
        self.phases.check_us = microseconds(began.elapsed());
    }

    async fn try_check(&mut self) -> Result<(), Fault> {
        let name = self.name();
        let memory = u64::from(self.broker.manifest.limits.memory_mib) * 1024 * 1024;
        let wasm = self.broker.manifest.wasm.as_ref();
        let (digest, imports) = wasm.map(|w| (w.sha256.to_ascii_lowercase(), w.imports.clone())).unwrap_or_default();
        let component = Component { bytes: &self.component, digest: &digest, imports: &imports };
        let (engine, not_kept) = engine::start(&name, component, memory, &self.store).await?;
        self.engine = Some(engine);
        self.component = Vec::new();
        if let Some(text) = not_kept {
            self.findings.push(Finding { level: "note".into(), text });
        }
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
                    let number = azure::take(&mut finding.text);
                    let level = match finding.level {
                        Level::Note => "note",
                        Level::Warning => "warning",
                        Level::Problem => {
                            let what = format!("{}.", finding.text.trim_end_matches('.'));
                            let fault = Fault::new("SP-DB-010", Exit::NotFrozen, what).of(&name);
                            self.faults.push(fault.azure(number.unwrap_or(azure::PRE)).done("It was not frozen."));
                            "problem"
                        }
                    };
                    self.findings.push(Finding { level: level.into(), text: finding.text });
                }
            }
            _ => return Err(self.unexpected(Phase::Check)),
        }
        self.look_at_role(deadline).await?;
        self.look_at_login(deadline).await?;
        if !self.broker.manifest.snapshots.contains(&self.plan.snapshot) {
            let text = format!(
                "{}: the verdict will be crash-consistent. Say  snapshot =  what the agent really does",
                NOT_THIS_SNAPSHOT
            );
            self.findings.push(Finding { level: "warning".into(), text });
        }
        if self.faults.is_empty() {
            let asked = self.broker.unheld(deadline).await;
            self.unheld = asked.map_err(|e| {
                let what = format!("the database did not say whether it can be held: {e}.");
                let next = "see what  stillpoint check  says of the login";
                Fault::new("SP-DB-015", Exit::NotFrozen, what).of(&name).done("It was not frozen.").next(next)
            })?;
        }
        if let Some(why) = &self.unheld {
            let text = format!("nothing will be held, and the verdict will be crash-consistent: {why}");
            self.findings.push(Finding { level: "warning".into(), text });
        }
        self.look_at_logs(deadline).await;
        self.durable = self.look_at_data(deadline).await?;
        if self.data.is_empty() {
            let text = "the database names no folder of its data, so no filesystem is synced".into();
            self.findings.push(Finding { level: "warning".into(), text });
        }
        Ok(())
    }

    /// Where its logs are copied to, so that the record can say so.
    async fn look_at_logs(&mut self, deadline: Instant) {
        let (Some(logs), Some(destination)) = (self.broker.manifest.logs.clone(), self.log_destination.clone()) else {
            return;
        };
        // A mount may hang.
        let place = destination.clone();
        let looked = timeout_at(deadline, tokio::task::spawn_blocking(move || place.is_dir())).await;
        if !matches!(looked, Ok(Ok(true))) {
            let text = format!("{}, where its logs are to be copied, is no folder now", destination.display());
            self.findings.push(Finding { level: "warning".into(), text });
        }
        match log_backup::series(&mut self.broker, &logs, deadline).await {
            Ok(series) => {
                let folder = log_backup::folder(&destination, &self.broker.workload.name, &series);
                if logs.list.is_none() {
                    let text = format!("the database itself is to hand its logs on, to {}", folder.display());
                    self.findings.push(Finding { level: "note".into(), text });
                }
                self.log_folder = Some(folder);
            }
            Err(why) => {
                let text = format!("whose logs it keeps could not be asked, so they are not copied: {why}");
                self.findings.push(Finding { level: "warning".into(), text });
            }
        }
    }

    /// Whether the server is what the configuration takes it for.
    async fn look_at_role(&mut self, deadline: Instant) -> Result<(), Fault> {
        let name = self.name();
        self.role = self.broker.role(deadline).await.map_err(|e| role_unknown(&name, &e.to_string()))?;
        self.only_replica()?;
        let text = match (self.broker.workload.role, self.role) {
            (Some(said), Some(role)) if said != role => {
                format!("the server is a {role}, and the configuration says otherwise: it is frozen as what it is")
            }
            (Some(Role::Replica), None) => "role = slave is not checked: this module cannot tell a replica".into(),
            _ => return Ok(()),
        };
        self.findings.push(Finding { level: "warning".into(), text });
        Ok(())
    }

    /// `enforceSlaveOnly`: nothing but a replica is frozen.
    fn only_replica(&self) -> Result<(), Fault> {
        if !self.broker.workload.only_replica {
            return Ok(());
        }
        let refused =
            |id: &str, what: &str| Fault::new(id, Exit::NotFrozen, what).of(self.name()).done("It was not frozen.");
        match self.role {
            Some(Role::Replica) => Ok(()),
            Some(Role::Primary) => Err(refused("SP-ROLE-001", "enforceSlaveOnly = 1, and this server is a primary.")
                .next("take the snapshot on the replica, or write  enforceSlaveOnly = 0  if this server shall be frozen, too")),
            None => Err(refused("SP-ROLE-002", "enforceSlaveOnly = 1, and this module cannot tell a replica from a primary.")
                .next("write  enforceSlaveOnly = 0  and keep this configuration on the replica alone")),
        }
    }

    /// What the login may not do and should, or may do and need not.
    async fn look_at_login(&mut self, deadline: Instant) -> Result<(), Fault> {
        let name = self.name();
        let next = format!("let the database's administrator run what  stillpoint privileges {name}  prints");
        let login = self.broker.login(deadline).await.map_err(|e| {
            let what = format!("the database did not say what the login may do: {e}.");
            Fault::new("SP-DB-012", Exit::NotFrozen, what).of(&name).done("It was not frozen.").next(&next)
        })?;
        for missing in &login.missing {
            let fault = Fault::new("SP-DB-011", Exit::NotFrozen, format!("{missing}."));
            self.faults.push(fault.of(&name).done("It was not frozen.").next(&next));
        }
        let of = |level: &str, texts: &[String]| {
            texts.iter().map(|text| Finding { level: level.into(), text: text.clone() }).collect::<Vec<_>>()
        };
        self.findings.extend(of("warning", &login.wanted));
        self.findings.extend(of("note", &login.unsure));
        self.findings.extend(of("note", login.too_much(&name).as_slice()));
        Ok(())
    }

    pub(super) async fn prepare(&mut self) {
        let began = Instant::now();
        self.broker.is_awaited();
        if let Err(fault) = self.try_prepare().await {
            self.faults.push(fault);
        }
        self.broker.has_come();
        self.phases.prepare_us = microseconds(began.elapsed());
    }

    async fn try_prepare(&mut self) -> Result<(), Fault> {
        let name = self.name();
        let deadline = self.slow_deadline();
        // Before the module prepares: it may already hold something when it returns.
        if let Some(folder) = self.broker.state().cloned() {
            let made = timeout_at(deadline, PointFile::make(folder, &self.plan.cycle, &name)).await;
            let made = made.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            self.point_file = Some(made.map_err(|e| not_recorded(&name, &e))?);
        }
        self.sync(deadline).await?;
        match self.call(Phase::Prepare, deadline).await? {
            Outcome::Nothing => {}
            _ => return Err(self.unexpected(Phase::Prepare)),
        }
        // Prepare may have taken minutes, in which somebody has set the server differently, made a primary of it, or added a
        // disk.
        if self.broker.workload.only_replica {
            self.role = self.broker.role(deadline).await.map_err(|e| role_unknown(&name, &e.to_string()))?;
            self.only_replica()?;
        }
        let durable = self.look_at_data(deadline).await?;
        self.durable &= durable;
        if !self.durable && self.broker.book.armed(&name).is_empty() {
            self.sync(deadline).await?;
        }
        Ok(())
    }

    /// Where its commits are not on disk by themselves, its filesystems are synced once all of these hold.
    ///
    /// # Errors
    /// When nothing may be snapshotted any more.
    pub(super) async fn freeze(&mut self, together: &Together) -> Result<(), GivenUp> {
        let began = Instant::now();
        self.broker.is_awaited();
        let mut deadline = began + self.longest_freeze();
        let mut frozen = self.try_freeze(&mut deadline, together.writers_wait).await;
        if !self.durable {
            together.unwritten.one_has_come();
            if frozen.is_ok() {
                let holds = Instant::now();
                together.unwritten.all_have_come().await;
                let until = together.written_until(self.broker.book.gathering.complete_since());
                frozen = self.sync_together(&together.syncs, until.min(deadline + holds.elapsed())).await;
            }
        }
        (self.stands, self.stood) = (frozen.is_ok(), frozen.is_ok());
        self.phases.freeze_us = microseconds(began.elapsed());
        self.frozen_at = Some(Instant::now());
        let Err(fault) = frozen else { return Ok(()) };
        self.blocked = self.refused;
        self.faults.push(fault);
        // Where it is all or nothing, the others are thawed now, and do not wait for this one either.
        if self.must_freeze() {
            return Err(GivenUp);
        }
        // At once: its writers do not wait for what becomes of the others.
        self.take_back().await;
        self.name_who_blocks();
        Ok(())
    }

    /// The longest that its freeze may take.
    fn longest_freeze(&self) -> Duration {
        self.broker.workload.stall_budget + SLACK
    }

    /// Whether nothing may be snapshotted without it.
    pub(super) fn must_freeze(&self) -> bool {
        self.broker.workload.on_failure == OnFailure::Abort
    }

    /// Adds to what its freeze failed for who holds locks on its files.
    pub(super) fn name_who_blocks(&mut self) {
        if !std::mem::take(&mut self.blocked) {
            return;
        }
        let others = self.broker.locked_by_others();
        if let (Some(fault), false) = (self.faults.first_mut(), others.is_empty()) {
            fault.next = Some(format!("locks on it are held by {}, and are left alone", others.join(", ")));
        }
    }

    async fn try_freeze(&mut self, deadline: &mut Instant, writers_wait: bool) -> Result<(), Fault> {
        let name = self.name();
        let mut frozen = self.call(Phase::Freeze, *deadline).await;
        if let Some(waited) = self.broker.begins_anew()
            && self.engine.as_ref().is_some_and(|e| !e.is_lost())
        {
            // Otherwise nobody waited for it meanwhile.
            if !writers_wait {
                *deadline += waited;
            }
            frozen = self.call(Phase::Freeze, *deadline).await;
        }
        let deadline = *deadline;
        // However it ended: from here on it holds no more than it does.
        self.broker.has_come();
        match frozen? {
            Outcome::Point(point) => self.point = point.into_iter().take(MOST_COORDINATES).collect(),
            _ => return Err(self.unexpected(Phase::Freeze)),
        }
        if Instant::now() >= deadline {
            let what = "freeze came to its end when the time for it was over.";
            return Err(Fault::new("SP-MODULE-005", Exit::NotFrozen, what)
                .of(&name)
                .done("What it froze is thawed.")
                .next("raise  stall_budget  if the database needs more, or report it to the module's author"));
        }
        if self.unheld.is_some() {
            // Nothing was sent from which `timeout` would count.
            self.broker.book.sends_freeze();
            // The snapshot may be taken; what was frozen all the same counts for nothing.
        } else if let Some(why) = self.froze_too_little() {
            return Err(Fault::new("SP-MODULE-003", Exit::NotFrozen, format!("freeze ended well, but {why}."))
                .of(&name)
                .done("What it froze is thawed.")
                .next("report it to the module's author"));
        }
        // It ends up in every record, and in a file whose size is fixed.
        if self.point.iter().map(|c| c.name.len() + c.value.len()).sum::<usize>() > LONGEST_POINT {
            let what = format!("its recovery point is longer than {LONGEST_POINT} bytes.");
            self.point.clear();
            return Err(Fault::new("SP-MODULE-004", Exit::NotFrozen, what)
                .of(&name)
                .done("What it froze is thawed.")
                .next("report it to the module's author"));
        }
        self.broker.files_are_open().map_err(|what| {
            let fault = Fault::new("SP-DB-021", Exit::NotFrozen, format!("{what}.")).of(&name);
            fault.done("It is thawed.").next("see who replaces database files while a backup runs")
        })?;
        let unproved = |why: String| {
            Fault::new("SP-DB-020", Exit::NotFrozen, format!("the freeze could not be proved: {why}."))
                .of(&name)
                .done("It is thawed.")
                .next("see whether the server still answers; report it to the module's author if it does")
        };
        self.broker.take_proofs(deadline).await.map_err(|e| unproved(e.to_string()))?;
        crash::may_fail(Step::Proved).map_err(|e| unproved(e.to_string()))?;
        if let Some(file) = &self.point_file {
            let synced_below = !self.durable && self.filesystems.iter().any(|f| f.device == file.device());
            let written = timeout_at(deadline, file.write(&self.point, Timestamp::now(), !synced_below)).await;
            written
                .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
                .map_err(|e| not_recorded(&name, &e))?;
        }
        crash::step(Step::Pointed);
        Ok(())
    }

    fn froze_too_little(&self) -> Option<String> {
        let missing = self.broker.not_covered();
        if self.broker.frozen.is_empty() {
            Some("its module froze nothing".into())
        } else if !self.broker.frozen.iter().any(Frozen::counts) {
            Some("its module froze nothing that makes a copy consistent".into())
        } else if self.broker.manifest.snapshots.contains(&self.plan.snapshot)
            && !self.broker.frozen.iter().any(|f| f.counts() && f.snapshots.contains(&self.plan.snapshot))
        {
            Some(
                "its module froze nothing that makes a copy consistent under the kind of snapshot that is configured"
                    .into(),
            )
        } else if self.broker.is_waiting() {
            Some("a statement has not been answered yet".into())
        } else if missing.is_empty() {
            None
        } else {
            Some(format!("its module froze nothing in {}", missing.join(", ")))
        }
    }

    pub(super) async fn call(&mut self, phase: Phase, deadline: Instant) -> Result<Outcome, Fault> {
        let name = self.name();
        let Some(engine) = self.engine.as_mut() else {
            return Err(Fault::new("SP-ENGINE-001", Exit::Internal, "there is no engine.").of(name));
        };
        self.refused = false;
        let stopped = match engine.call(phase, &self.plan, deadline, &mut self.broker).await {
            Ok(outcome) => return Ok(outcome),
            Err(stopped) => stopped,
        };
        let id = match &stopped {
            Stopped::Failed(_) => "SP-DB-014",
            Stopped::Broken(_) => "SP-MODULE-001",
            Stopped::Gone(_) => "SP-ENGINE-003",
        };
        self.refused = matches!(&stopped, Stopped::Failed(f) if matches!(f.error, Some(StatementError::Failed(_))));
        let mut why = stopped.to_string();
        shorten(&mut why);
        let number = azure::take(&mut why).unwrap_or(match phase {
            Phase::Freeze => azure::QUIESCE,
            Phase::Thaw => azure::POST,
            _ => azure::PRE,
        });
        let what = format!("{phase} failed: {}.", why.trim_end_matches('.'));
        let done = if phase == Phase::Check { "Nothing was frozen." } else { "What it held is taken back." };
        let fault = Fault::new(id, Exit::NotFrozen, what).of(name).azure(number).done(done);
        Err(if matches!(stopped, Stopped::Failed(_)) { fault } else { fault.next("report it to the module's author") })
    }

    fn unexpected(&self, phase: Phase) -> Fault {
        Fault::new("SP-MODULE-002", Exit::NotFrozen, format!("{phase} returned what another phase returns."))
            .of(self.name())
            .done("What it held is taken back.")
            .next("report it to the module's author")
    }

    pub(super) async fn close(&mut self) {
        if let Some(engine) = self.engine.as_mut() {
            engine.kill();
        }
        let mut sessions = std::mem::take(&mut self.broker.sessions);
        self.unfinished = self.at_it.drain(..).filter_map(|key| sessions.remove(&key)).collect();
        join_all(sessions.into_values().map(Session::close)).await;
    }

    pub(super) fn record(&self, cycle: &Cycle) -> WorkloadRecord {
        let (verdict, kind, reason) = self.verdict(cycle);
        let stopped = self.broker.writes_stopped;
        let standstill = stopped.zip(self.thawed_at).map(|(from, to)| microseconds(to.saturating_duration_since(from)));
        WorkloadRecord {
            name: self.name(),
            module: self.broker.manifest.name.clone(),
            version: self.broker.manifest.version.clone(),
            database: self.database_version.clone(),
            role: self.role,
            verdict,
            kind,
            reason,
            azure: (verdict == Verdict::CrashConsistent).then_some(azure::NOT_HELD),
            durable: self.durable,
            untried: self.broker.manifest.untried.clone(),
            data: self.data.iter().map(|p| p.display().to_string()).collect(),
            kept: self.broker.kept.clone(),
            recovery: self.broker.manifest.recovery.clone(),
            log_folder: self.log_folder.as_ref().map(|p| p.display().to_string()),
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
            let own = self.faults.first().map(|f| f.what.clone());
            return (Verdict::Failed, None, Some(own.unwrap_or_else(|| cycle.given_up())));
        }
        if let Some(reason) = self.reason.as_ref().or(self.unheld.as_ref()) {
            return crash(reason.clone());
        }
        if !self.broker.manifest.snapshots.contains(&self.plan.snapshot) {
            return crash(NOT_THIS_SNAPSHOT.into());
        }
        if let Some(why) = self.froze_too_little() {
            return crash(why);
        }
        let needs = self.broker.manifest.recovery.as_ref().is_some_and(|r| r.needs_logs(self.plan.snapshot));
        if needs && self.broker.kept.is_empty() {
            return crash("what makes a copy of more than one instant whole did not come with the thaw".into());
        }
        if let Some(name) = &self.broker.not_kept {
            return crash(format!("{name}, which is known only since the thaw, is longer than a record may be"));
        }
        let still = self.broker.frozen.iter().any(|f| f.stops == Stops::Writes);
        (Verdict::ApplicationConsistent, Some(if still { Kind::Still } else { Kind::Recoverable }), None)
    }
}

/// What a module says is kept short: it ends up in every record and on somebody's screen.
fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(2000));
}

fn role_unknown(workload: &str, why: &str) -> Fault {
    let what = format!("the server did not say whether it is a replica: {why}.");
    Fault::new("SP-ROLE-003", Exit::NotFrozen, what)
        .of(workload)
        .done("What it held is taken back.")
        .next(format!("let the database's administrator run what  stillpoint privileges {workload}  prints"))
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
