//! All that a module can ask for: one file for each interface, and nothing else. Every request is checked here, on the
//! side that has the authority, whatever the engine let through.

mod clock;
pub mod database;
mod events;
mod log;
mod privileges;
pub mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use stillpoint_contract::manifest::{Each, Effect, Expected, Interface, Lasts, Manifest, Snapshot, Statement, Stops};
use stillpoint_contract::message::{Notice, Phase, Reply, Request, Severity, StatementError, Value};
use tokio::time::{Instant, timeout_at};

use crate::audit::MOST_STATEMENTS;
use crate::client::reach::Reach;
use crate::client::session::{self, Most, Session};
use crate::config::Workload;
use crate::cycle::book::Book;
use crate::events::Events;
use crate::fault::Fault;
use crate::ledger::Answered;
use state::StateFolder;

/// The name of a session and, where it is opened for each, its database.
pub type SessionKey = (String, Option<String>);

/// One statement that froze something, and stands until the thaw.
#[derive(Debug, Clone)]
pub struct Frozen {
    /// The freezing statement.
    pub statement: String,
    /// The session in which it holds.
    pub key: SessionKey,
    /// What it stops.
    pub stops: Stops,
    /// Whether a copy is whole while it holds, though writes go on.
    pub recoverable: bool,
    /// The kinds of snapshot that it makes consistent.
    pub snapshots: Vec<Snapshot>,
    /// What proves it: one of them suffices.
    pub proofs: Vec<Proof>,
}

/// A proof that a freeze holds.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The statement.
    pub statement: String,
    /// What it must answer.
    pub expected: Expected,
    /// What it answered just after the freeze.
    pub answer: Option<Vec<Value>>,
}

/// The most bytes of what one workload's thaw answered that are kept.
const MOST_KEPT: usize = 64 * 1024;

/// What a statement answered in thaw: it exists in no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// The column, such as `label`.
    pub name: String,
    /// Byte for byte.
    pub value: String,
}

impl Frozen {
    /// Whether a copy is consistent while it holds.
    pub fn counts(&self) -> bool {
        self.stops == Stops::Writes || self.recoverable
    }
}

/// A line that the module wrote.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LogLine {
    /// In which phase.
    pub phase: Phase,
    /// How serious.
    pub severity: Severity,
    /// For people.
    pub text: String,
}

/// What one workload's module may reach.
pub struct Broker {
    /// The workload as configured.
    pub workload: Workload,
    /// What its module may do.
    pub manifest: Manifest,
    /// How to start its client.
    pub reach: Reach,
    /// The clients that are connected.
    pub sessions: BTreeMap<SessionKey, Session>,
    /// How each session is named to the server.
    pub ids: BTreeMap<SessionKey, Value>,
    /// What stands frozen.
    pub frozen: Vec<Frozen>,
    /// The databases, where they are files.
    pub files: Vec<database::DatabaseFile>,
    /// The running server, where the module can tell it from another.
    pub identity: Option<Answered>,
    /// The module's log lines.
    pub log: Vec<LogLine>,
    /// What was sent to freeze and never answered: it may still take effect.
    pub unanswered: BTreeSet<(String, Option<String>)>,
    /// What the thaw answered and the record must hold.
    pub kept: Vec<Kept>,
    kept_left: usize,
    /// What did not fit there.
    pub not_kept: Option<String>,
    /// The ledger and the clock of the standstill, shared by all workloads.
    pub book: Rc<Book>,
    /// When this workload's own standstill began.
    pub writes_stopped: Option<Instant>,
    state: Option<StateFolder>,
    channel: Events,
    phase: Phase,
    deadline: Instant,
    events_left: u32,
    lines_left: u32,
    statements_left: u32,
    /// Whether the statement that the module asked for was sent.
    sent: bool,
    /// In this phase it has come to what holds something, or to its end.
    come: bool,
    /// In freeze: for so long it waited there for the others, and is to look again.
    waited: Option<Duration>,
    /// The refusal that tells it so is no fault of the module's: no entry says that it was refused something.
    excused: bool,
}

impl Broker {
    /// A broker with nothing open yet.
    ///
    /// # Errors
    /// `SP-IPC-…` when `ipc_folder` cannot be opened, `SP-CLIENT-…` when there is no client.
    pub fn new(
        workload: Workload,
        manifest: Manifest,
        configuration: PathBuf,
        book: Rc<Book>,
        channel: Events,
    ) -> Result<Broker, Fault> {
        let manifest = Manifest { limits: manifest.limits.bounded(), ..manifest };
        let reach = Reach::new(&workload, &manifest.client, configuration)?;
        let state = StateFolder::open(&workload, manifest.limits.state_kib)?;
        Ok(Broker {
            events_left: manifest.limits.events,
            lines_left: manifest.limits.log_lines,
            statements_left: MOST_STATEMENTS,
            sent: false,
            come: false,
            waited: None,
            excused: false,
            workload,
            manifest,
            reach,
            sessions: BTreeMap::new(),
            ids: BTreeMap::new(),
            frozen: Vec::new(),
            files: Vec::new(),
            identity: None,
            log: Vec::new(),
            unanswered: BTreeSet::new(),
            kept: Vec::new(),
            kept_left: MOST_KEPT,
            not_kept: None,
            book,
            writes_stopped: None,
            state,
            channel,
            phase: Phase::Check,
            deadline: Instant::now(),
        })
    }

    /// From here the module may do what this phase allows, until the deadline.
    pub fn enter(&mut self, phase: Phase, deadline: Instant) {
        self.phase = phase;
        self.deadline = deadline;
    }

    /// A phase begins in which the others wait for it: until [`Broker::has_come`].
    pub fn is_awaited(&mut self) {
        self.come = false;
    }

    /// All slow work of this workload is done, or will never be: the others need not wait for it any more.
    pub fn has_come(&mut self) {
        if !std::mem::replace(&mut self.come, true) {
            self.book.gathering.one_has_come();
        }
    }

    /// Whether freeze is to be called once more, and how long it had waited for the others: its module was refused its first
    /// freezing statement, and is to look again at whatever it looks at before.
    pub fn begins_anew(&mut self) -> Option<Duration> {
        self.waited.take()
    }

    /// The deadline of the phase.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The folder for state, where the workload has one.
    pub fn state(&self) -> Option<&StateFolder> {
        self.state.as_ref()
    }

    /// Whether the module imports, by its signed manifest, what this request belongs to. The engine gives it nothing else.
    pub fn offers(&self, request: &Request) -> bool {
        let interface = match request {
            Request::Run { .. } => Interface::Database,
            Request::Put { .. } | Request::Get { .. } | Request::List | Request::Remove { .. } => Interface::State,
            Request::Now | Request::Remaining => Interface::Clock,
        };
        let imported = self.imports(interface);
        if !imported {
            self.refused(asked(request), "not imported by its manifest");
        }
        imported
    }

    /// Has the audit record tell that the module was refused something.
    fn refused(&self, asked: &str, why: &str) {
        self.book.audit.refused(&self.workload.name, self.phase, asked, why);
    }

    fn imports(&self, interface: Interface) -> bool {
        self.manifest.wasm.as_ref().is_some_and(|w| w.imports.contains(&interface))
    }

    /// Answers the one request that is open.
    pub async fn answer(&mut self, request: Request) -> Reply {
        let what = asked(&request);
        let reply = self.answer_it(request).await;
        if matches!(reply, Reply::Done(Err(_)) | Reply::Content(Err(_)) | Reply::Names(Err(_))) {
            self.refused(what, "not done");
        }
        reply
    }

    async fn answer_it(&mut self, request: Request) -> Reply {
        match request {
            Request::Run { statement, database, arguments } => {
                self.sent = false;
                let rows = self.run_for_module(&statement, database.as_deref(), &arguments).await;
                let excused = std::mem::take(&mut self.excused);
                if let (Err(error), false) = (&rows, self.sent || excused) {
                    self.refused(&statement, why(error));
                }
                Reply::Rows(rows)
            }
            Request::Put { name, content } => Reply::Done(self.change_files(move |f| f.put(&name, &content)).await),
            Request::Get { name } => Reply::Content(self.files(move |f| f.get(&name)).await),
            Request::List => Reply::Names(self.files(StateFolder::names).await),
            Request::Remove { name } => Reply::Done(self.change_files(move |f| f.remove(&name)).await),
            Request::Now => Reply::Milliseconds(clock::now()),
            Request::Remaining => Reply::Milliseconds(clock::remaining(self.deadline)),
        }
    }

    /// Takes what the module said.
    pub fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Event { kind, text } if self.imports(Interface::Events) => events::emit(self, &kind, text),
            Notice::Log { severity, text } if self.imports(Interface::Log) => log::write(self, severity, text),
            Notice::Event { .. } => self.refused("event", "not imported by its manifest"),
            Notice::Log { .. } => self.refused("log", "not imported by its manifest"),
        }
    }

    /// Looks at the state files on a thread that may block, for no longer than the phase lasts.
    async fn files<T: Send + 'static>(
        &self,
        act: impl FnOnce(&StateFolder) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let folder = self.state.clone().ok_or("the workload has no ipc_folder")?;
        let acted = tokio::task::spawn_blocking(move || act(&folder));
        match timeout_at(self.deadline, acted).await {
            Ok(acted) => acted.map_err(|e| e.to_string())?,
            Err(_) => Err("the filesystem of ipc_folder did not answer in time".into()),
        }
    }

    /// Changes the state files. Not in thaw: the snapshot is cut, and the agent may still hold the filesystem frozen.
    async fn change_files(
        &self,
        act: impl FnOnce(&StateFolder) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        if self.phase == Phase::Thaw {
            return Err("state is not changed in thaw: what changes then is not in the snapshot".into());
        }
        self.files(act).await
    }

    /// Every session that the manifest declares, with its database where it is opened for each.
    pub fn keys(&self) -> Vec<SessionKey> {
        let mut out = Vec::new();
        for (name, session) in &self.manifest.sessions {
            match session.each {
                None => out.push((name.clone(), None)),
                Some(Each::Database) => {
                    out.extend(self.workload.databases.iter().map(|d| (name.clone(), Some(d.clone()))));
                }
            }
        }
        out
    }

    /// What the guard must be able to reach by itself: the databases in which something outlasts our session, or in which
    /// a session of ours must be cancelled.
    pub fn for_the_guard(&self) -> Vec<(Reach, Option<String>)> {
        let outlasts = |name: &str| {
            let freezes = |s: &&Statement| s.effect == Effect::Freeze && s.session == name;
            self.manifest.statements.values().filter(freezes).any(|s| s.lasts != Some(Lasts::Session))
                || self.manifest.sessions.get(name).is_some_and(|s| s.cancel.is_some())
        };
        let databases: BTreeSet<Option<String>> =
            self.keys().into_iter().filter(|(name, _)| outlasts(name)).map(|(_, database)| database).collect();
        databases.into_iter().map(|database| (self.reach.clone(), database)).collect()
    }

    /// Opens a session, unless it is open already.
    ///
    /// # Errors
    /// `SP-CLIENT-…`.
    pub fn open(&mut self, key: &SessionKey) -> Result<(), Fault> {
        if self.sessions.contains_key(key) {
            return Ok(());
        }
        let limits = &self.manifest.limits;
        let most = Most { rows: limits.rows as usize, bytes: limits.answer_kib.max(1) as usize * 1024 };
        let session = session::open(&self.reach, self.workload.credential.password.as_ref(), key.1.as_deref(), most)?;
        self.sessions.insert(key.clone(), session);
        Ok(())
    }

    /// The databases in which nothing was frozen that stops writes, of a module that freezes each of them.
    pub fn not_covered(&self) -> Vec<String> {
        let each = |s: &str| self.manifest.sessions.get(s).is_some_and(|s| s.each.is_some());
        let freezes_each = self.manifest.statements.values().any(|s| s.effect == Effect::Freeze && each(&s.session));
        if !freezes_each {
            return Vec::new();
        }
        let covered: BTreeSet<&str> = self
            .frozen
            .iter()
            .filter(|f| f.stops == Stops::Writes || f.recoverable)
            .filter_map(|f| f.key.1.as_deref())
            .collect();
        self.workload.databases.iter().filter(|d| !covered.contains(d.as_str())).cloned().collect()
    }
}

/// Whether a module may run a statement of this effect in this phase.
fn allowed(effect: Effect, stops: Option<Stops>, phase: Phase) -> bool {
    match effect {
        Effect::Read | Effect::Session => true,
        Effect::Change => matches!(phase, Phase::Prepare | Phase::Thaw),
        Effect::Flush => matches!(phase, Phase::Prepare | Phase::Freeze),
        Effect::Freeze => match phase {
            Phase::Prepare => matches!(stops, Some(Stops::Nothing | Stops::Ddl)),
            Phase::Freeze => true,
            Phase::Check | Phase::Thaw => false,
        },
        Effect::Undo => phase != Phase::Check,
        // The host alone ends sessions.
        Effect::Cancel => false,
    }
}

/// What the module is told that waited for the others.
fn look_again() -> StatementError {
    StatementError::Refused("other workloads were waited for, and freeze is called once more".into())
}

/// The interface, and what of it.
fn asked(request: &Request) -> &'static str {
    match request {
        Request::Run { .. } => "database.run",
        Request::Put { .. } => "state.put",
        Request::Get { .. } => "state.get",
        Request::List => "state.list",
        Request::Remove { .. } => "state.remove",
        Request::Now => "clock.now",
        Request::Remaining => "clock.remaining",
    }
}

/// Why nothing was sent, in words of ours alone.
fn why(error: &StatementError) -> &'static str {
    match error {
        StatementError::Undeclared(_) => "not declared",
        StatementError::Refused(_) => "refused",
        StatementError::TimedOut => "the time for it is over",
        StatementError::Failed(_)
        | StatementError::Lost(_)
        | StatementError::TooLarge
        | StatementError::Unexpected(_) => "what comes before it failed",
    }
}

/// What is said to a module whose statement has no place in the phase.
fn not_in_this_phase(phase: Phase) -> StatementError {
    StatementError::Refused(format!("its effect has no place in {phase}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_writes_has_its_place_in_freeze_alone() {
        for phase in [Phase::Check, Phase::Prepare, Phase::Thaw] {
            assert!(!allowed(Effect::Freeze, Some(Stops::Writes), phase));
        }
        assert!(allowed(Effect::Freeze, Some(Stops::Writes), Phase::Freeze));
        assert!(allowed(Effect::Freeze, Some(Stops::Ddl), Phase::Prepare));
        assert!(!allowed(Effect::Change, None, Phase::Freeze));
        assert!(!allowed(Effect::Change, None, Phase::Check));
        assert!(allowed(Effect::Flush, None, Phase::Freeze));
        assert!(!allowed(Effect::Flush, None, Phase::Check) && !allowed(Effect::Flush, None, Phase::Thaw));
        assert!(!allowed(Effect::Undo, None, Phase::Check));
        for phase in [Phase::Check, Phase::Prepare, Phase::Freeze, Phase::Thaw] {
            assert!(!allowed(Effect::Cancel, None, phase));
        }
    }
}
