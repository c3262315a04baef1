//! The interface `database`: run a declared statement.
//!
//! A statement that freezes is sent only after its undo stands in the ledger. Armed means armed: an error, a timeout or
//! an unknown outcome changes nothing about that.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stillpoint_contract::manifest::{
    self, Effect, Expected, Lasts, Manifest, Parameter, Statement, Stops, Undo, UndoArgument, argument_order,
};
use stillpoint_contract::message::{Phase, Rows, StatementError, Value, only};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Broker, Frozen, Kept, Proof, SessionKey, allowed, look_again, not_in_this_phase};
use crate::audit::{self, Digest, MOST_STATEMENTS, Outcome, Sender, Ticket};
use crate::client::quote::render;
use crate::client::session::Session;
use crate::config::Role;
use crate::crash::{self, Step};
use crate::fault::{Exit, Fault};
use crate::ledger::{self, Answered, Entry};
use crate::sys::disk::is_plain;
use crate::sys::{ownership, process};

/// For so long a module may rely on what it has looked at before it freezes.
const FRESH: Duration = Duration::from_millis(50);

impl Broker {
    /// Whether both are the same running server, or share a database that is a file.
    pub fn is_the_same_as(&self, other: &Broker) -> bool {
        let shared = |f: &DatabaseFile| other.files.iter().any(|o| (o.device, o.inode) == (f.device, f.inode));
        self.files.iter().any(shared) || (self.identity.is_some() && self.identity == other.identity)
    }

    /// Where databases are files: which processes but our own hold locks on them or on the files beside them, in words.
    pub fn locked_by_others(&self) -> Vec<String> {
        let ours: Vec<i32> = self.sessions.values().map(|s| s.process.pid).collect();
        let mut out = Vec::new();
        for file in &self.files {
            let beside = ["", "-shm", "-wal", "-journal"].map(|end| format!("{}{end}", file.path));
            let inodes = beside.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|m| m.ino());
            for pid in inodes.flat_map(process::lock_holders) {
                let words = process::words(pid);
                if !ours.contains(&pid) && !out.contains(&words) {
                    out.push(words);
                }
            }
        }
        out
    }

    /// Opens every session and binds its id, so that one can cancel the other.
    ///
    /// # Errors
    /// The first that cannot be opened, in the database's own words.
    pub async fn connect(&mut self, deadline: Instant) -> Result<(), Fault> {
        self.find_files()?;
        for key in self.keys() {
            self.open(&key)?;
            self.make_read_only(&key, deadline).await.map_err(|e| self.not_reached(&key, &e))?;
            let id = self.manifest.sessions.get(&key.0).and_then(|s| s.id.clone());
            // The first answer shows whether the login worked; a session without an id shows it by its tag alone.
            let answer = match id {
                Some(id) => self.ask(&id, key.1.as_deref(), &[], deadline).await.map(|rows| only(&rows)),
                None => self.touch(&key, deadline).await.map(|()| None),
            };
            match answer {
                Ok(Some(id)) => drop(self.ids.insert(key, id)),
                Ok(None) => {}
                Err(e) => return Err(self.not_reached(&key, &e)),
            }
        }
        if let Some(identity) = self.manifest.identity.as_ref().map(|i| i.statement.clone()) {
            let rows = self.ask(&identity, None, &[], deadline).await;
            let rows = rows.map_err(|e| self.not_reached(&(identity.clone(), None), &e))?;
            self.identity = only(&rows).and_then(|answer| self.answered(&identity, answer));
        }
        Ok(())
    }

    /// Where the databases are files: which ones. A client would make one that is not there.
    fn find_files(&mut self) -> Result<(), Fault> {
        if self.manifest.data.paths.is_some() || self.manifest.data.process.is_some() {
            return Ok(());
        }
        for database in &self.workload.databases {
            let found = if is_plain(Path::new(database)) {
                DatabaseFile::find(database)
            } else {
                Err("it is no whole path without . and ..".to_owned())
            };
            match found {
                Ok(file) if self.files.iter().any(|f| (f.device, f.inode) == (file.device, file.inode)) => {
                    let what = format!("the database {database} is the same file as one before it in dbnames.");
                    return Err(Fault::new("SP-DB-005", Exit::NotFrozen, what)
                        .of(&self.workload.name)
                        .done("Nothing was frozen.")
                        .next("name each database once"));
                }
                Ok(file) => {
                    if self.workload.linux_user.uid == 0
                        && let Err(why) = only_roots(Path::new(database))
                    {
                        let what = format!(
                            "linux_user is root, and {why}: what others put into or beside a database, root would do."
                        );
                        return Err(Fault::new("SP-DB-007", Exit::NotFrozen, what)
                            .of(&self.workload.name)
                            .done("Nothing was opened.")
                            .next(match owner(Path::new(database)) {
                                Some(name) => format!("linux_user = {name}"),
                                None => "let nobody but root write there, or name who opens it:  linux_user =".into(),
                            }));
                    }
                    self.files.push(file);
                }
                Err(problem) => {
                    let what = format!("the database {database} cannot be opened: {problem}.");
                    return Err(Fault::new("SP-DB-004", Exit::NotFrozen, what)
                        .of(&self.workload.name)
                        .done("Nothing was frozen, and nothing was made.")
                        .next("correct  dbnames =  in the configuration, with the whole path"));
                }
            }
        }
        Ok(())
    }

    fn not_reached(&self, key: &SessionKey, error: &StatementError) -> Fault {
        let next = if self.manifest.client.login.is_some() {
            "see whether the server runs, and whether linux_user may log in with this credString"
        } else {
            "see whether linux_user may read and write the database"
        };
        let (id, what, next) = match error {
            StatementError::TimedOut => (
                "SP-DB-002",
                "the database did not answer.".to_owned(),
                "see whether the server accepts connections of linux_user at all",
            ),
            StatementError::Lost(why) => {
                ("SP-DB-001", format!("the client could not reach the database: {why}."), next)
            }
            StatementError::Failed(e) => ("SP-DB-001", format!("the client could not reach the database: {e}."), next),
            other => {
                ("SP-DB-003", format!("session {} cannot be used: {other}.", key.0), "report it to the module's author")
            }
        };
        Fault::new(id, Exit::NotFrozen, what).of(&self.workload.name).done("It was not frozen.").next(next)
    }

    /// Runs a statement for the module, as far as the phase allows it.
    pub(super) async fn run_for_module(
        &mut self,
        name: &str,
        database: Option<&str>,
        arguments: &[Value],
    ) -> Result<Rows, StatementError> {
        let statement = self.statement(name)?;
        if Instant::now() >= self.deadline {
            return Err(StatementError::TimedOut);
        }
        if !allowed(statement.effect, statement.stops, self.phase) {
            return Err(not_in_this_phase(self.phase));
        }
        let key = self.key(&statement.session, database)?;
        let arguments = &self.with_paths(statement, arguments)?;
        let (deadline, effect) = (self.deadline, statement.effect);
        // Every statement is in the audit record, so there is an end to them.
        self.statements_left = self
            .statements_left
            .checked_sub(1)
            .ok_or_else(|| StatementError::Refused(format!("more than {MOST_STATEMENTS} statements in one cycle")))?;
        let statement = self.statement(name)?;
        match effect {
            Effect::Freeze => {
                self.wait_for_the_others().await?;
                self.freeze(name, &key, arguments, deadline).await
            }
            Effect::Undo => {
                let text = render(&self.manifest.client, statement, arguments)?;
                // Before it is sent: whatever comes back, nothing that it may have undone counts as frozen any more.
                if self.phase != Phase::Thaw {
                    let manifest = &self.manifest;
                    self.frozen.retain(|f| f.key.1 != key.1 || undo_name(manifest, &f.statement) != Some(name));
                }
                let rows = self.send(Sender::Module, name, database, arguments, deadline).await?;
                self.taken_back("by the module", &key, &text);
                Ok(rows)
            }
            _ => self.send(Sender::Module, name, database, arguments, deadline).await,
        }
    }

    /// Waits, before anything is held, until all workloads have come as far. The clock of `timeout` begins with the first that
    /// is held in prepare; and no writer waits while another workload's freeze still looks at something. What the module
    /// itself had looked at is old then: see [`Broker::begins_anew`].
    async fn wait_for_the_others(&mut self) -> Result<(), StatementError> {
        let longest = self.deadline.saturating_duration_since(Instant::now());
        match self.phase {
            Phase::Prepare => {
                self.has_come();
                let come = timeout(longest, self.book.gathering.all_have_come()).await;
                come.map_err(|_| StatementError::TimedOut)
            }
            Phase::Freeze => {
                if !self.come {
                    let came = Instant::now();
                    self.has_come();
                    // It needs the rest itself.
                    let _ = timeout(longest / 2, self.book.gathering.all_have_come()).await;
                    self.waited = Some(came.elapsed()).filter(|waited| *waited > FRESH);
                    self.excused = self.waited.is_some();
                }
                if self.waited.is_some() { Err(look_again()) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// The same arguments, with names of state files made paths: which folder that is, no module knows.
    fn with_paths(&self, statement: &Statement, arguments: &[Value]) -> Result<Vec<Value>, StatementError> {
        let order = argument_order(statement);
        let path = |(at, value): (usize, &Value)| {
            let parameter = order.get(at).and_then(|name| statement.parameters.get(*name));
            let (Some(Parameter::StateFile), Value::Text(name)) = (parameter, value) else { return Ok(value.clone()) };
            let folder =
                self.state().ok_or_else(|| StatementError::Refused("the workload has no ipc_folder".into()))?;
            folder.whole_path(name).map(Value::Text).map_err(StatementError::Refused)
        };
        arguments.iter().enumerate().map(path).collect()
    }

    /// Arms the undo, then sends the statement.
    async fn freeze(
        &mut self,
        name: &str,
        key: &SessionKey,
        arguments: &[Value],
        deadline: Instant,
    ) -> Result<Rows, StatementError> {
        let statement = self.statement(name)?;
        let (recoverable, foreign) = (statement.recoverable, statement.foreign.clone());
        let own = &statement.snapshots;
        let snapshots = if own.is_empty() { &self.manifest.snapshots } else { own }.clone();
        let (stops, lasts) = (statement.stops.unwrap_or(Stops::Writes), statement.lasts.unwrap_or(Lasts::Disk));
        let undo = statement.undo.clone().ok_or_else(|| StatementError::Undeclared(format!("{name} has no undo")))?;
        // Refused before anything is armed, if it is refused at all.
        render(&self.manifest.client, statement, arguments)?;
        let given: BTreeMap<String, Value> =
            argument_order(statement).into_iter().map(str::to_owned).zip(arguments.iter().cloned()).collect();
        let entry = self.undo_of(name, lasts, &undo, &given, key, deadline).await?;
        let undo_text = entry.statement().map(|s| s.text.clone()).unwrap_or_default();
        // Which need not be the session that freezes.
        let undo_key = (entry.statement().map(|s| s.session.clone()).unwrap_or_default(), key.1.clone());
        let same = |e: &Entry| e.statement().is_some_and(|s| s.text == undo_text && s.database == key.1);
        let sent_before = self.book.armed(&self.workload.name).iter().any(same);
        self.book
            .arm(entry)
            .await
            .map_err(|e| StatementError::Refused(format!("the ledger cannot be written: {e}")))?;
        self.book.sends_freeze();
        if stops == Stops::Writes {
            self.writes_stopped.get_or_insert_with(Instant::now);
        }
        let rows = self.send(Sender::Module, name, key.1.as_deref(), arguments, deadline).await;
        crash::step(Step::Froze);
        if matches!(rows, Err(StatementError::TimedOut | StatementError::Lost(_))) {
            self.unanswered.insert((name.into(), key.1.clone()));
        }
        if let (Err(StatementError::Failed(error)), Some(foreign)) = (&rows, &foreign)
            && error.message.contains(foreign.as_str())
            // Whoever sends it twice is told the same, of what is ours.
            && !sent_before
        {
            // Somebody else's, who is to take it back.
            self.taken_back("never ours", &undo_key, &undo_text);
        }
        let rows = rows?;
        let proofs = self.proofs_of(name, key);
        self.frozen.push(Frozen { statement: name.into(), key: key.clone(), stops, recoverable, snapshots, proofs });
        Ok(rows)
    }

    /// What proves this freeze. Where that is the session's own id, the answer is known already.
    fn proofs_of(&self, name: &str, key: &SessionKey) -> Vec<Proof> {
        let id = self.manifest.sessions.get(&key.0).and_then(|s| s.id.as_ref());
        let declared = self.manifest.statements.get(name).into_iter().flat_map(manifest::Statement::proofs);
        declared
            .map(|proof| Proof {
                statement: proof.statement.clone(),
                expected: proof.answer.clone(),
                answer: match self.ids.get(key) {
                    Some(known) if proof.answer == Expected::Unchanged && Some(&proof.statement) == id => {
                        Some(vec![known.clone()])
                    }
                    _ => None,
                },
            })
            .collect()
    }

    async fn undo_of(
        &mut self,
        froze: &str,
        lasts: Lasts,
        undo: &Undo,
        given: &BTreeMap<String, Value>,
        key: &SessionKey,
        deadline: Instant,
    ) -> Result<Entry, StatementError> {
        let target = self.statement(&undo.statement)?.clone();
        let mut arguments = Vec::new();
        for parameter in argument_order(&target) {
            arguments.push(match undo.arguments.get(parameter) {
                Some(UndoArgument::Argument(p)) => {
                    given.get(p).cloned().ok_or_else(|| StatementError::Undeclared(format!("argument {p}")))?
                }
                Some(UndoArgument::Previous(read)) => self.ask_one(read, key.1.as_deref(), deadline).await?,
                None => return Err(StatementError::Undeclared(format!("undo argument {parameter}"))),
            });
        }
        let text = render(&self.manifest.client, &target, &arguments)?;
        let session_key = (target.session.clone(), key.1.clone());
        // Of the session that freezes: it may still be about to, when it is taken back.
        let cancel = self.cancel_text(key);
        let session = self.sessions.get(&session_key).ok_or_else(|| StatementError::Lost("it is not open".into()))?;
        let (process, group) = (session.process, session.group.clone());
        let statement = ledger::Statement {
            name: undo.statement.clone(),
            text,
            session: target.session,
            database: key.1.clone(),
            process,
            group,
            reach: self.reach.clone(),
            identity: self.identity.clone(),
            set: self.set_by(froze),
            cancel,
            nothing: undo.nothing.clone(),
            by_hand: undo.by_hand.clone(),
        };
        let undo = ledger::Undo::Statement(Box::new(statement));
        Ok(Entry { number: 0, workload: self.workload.name.clone(), froze: froze.into(), lasts, undo })
    }

    /// A question without parameters that was answered, as it can be asked again.
    fn answered(&self, name: &str, answer: Value) -> Option<Answered> {
        let statement = self.manifest.statements.get(name)?;
        let text = render(&self.manifest.client, statement, &[]).ok()?;
        Some(Answered { text, columns: statement.columns.clone(), answer })
    }

    /// What the proof of this freeze answers while it holds, where the manifest says so beforehand.
    fn set_by(&self, froze: &str) -> Option<Answered> {
        let statement = self.manifest.statements.get(froze)?;
        // Where another proof suffices, one that fails does not say that it is undone.
        let holds = statement.holds.as_ref().filter(|_| statement.or_holds.is_none())?;
        self.answered(&holds.statement, holds.answer.value()?)
    }

    /// What ends this session on the server, as it will be sent.
    fn cancel_text(&self, key: &SessionKey) -> Option<String> {
        let cancel = self.manifest.sessions.get(&key.0)?.cancel.as_ref()?;
        let id = self.ids.get(key)?.clone();
        render(&self.manifest.client, self.manifest.statements.get(cancel)?, &[id]).ok()
    }

    /// An undo with this text in this session was acknowledged: disarms what it undid.
    pub fn taken_back(&mut self, how: &str, key: &SessionKey, text: &str) {
        let workload = self.workload.name.clone();
        let same = |s: &ledger::Statement| s.session == key.0 && s.database == key.1 && s.text == text;
        self.book.taken_back(how, |e| e.workload == workload && e.statement().is_some_and(same));
    }

    /// Runs a declared statement for the host: no phase is asked.
    ///
    /// # Errors
    /// [`StatementError`].
    pub async fn ask(
        &mut self,
        name: &str,
        database: Option<&str>,
        arguments: &[Value],
        deadline: Instant,
    ) -> Result<Rows, StatementError> {
        self.send(Sender::Host, name, database, arguments, deadline).await
    }

    /// Asks for one value.
    ///
    /// # Errors
    /// [`StatementError`]: `Unexpected` where it is not in one row.
    pub async fn ask_one(
        &mut self,
        name: &str,
        database: Option<&str>,
        deadline: Instant,
    ) -> Result<Value, StatementError> {
        let rows = self.ask(name, database, &[], deadline).await?;
        only(&rows).ok_or_else(|| StatementError::Unexpected(format!("{name} gave not one row")))
    }

    /// Runs a statement without parameters for the host: once, or in each database, where its session is opened for each.
    /// Gives the rows of each.
    ///
    /// # Errors
    /// [`StatementError`].
    pub async fn ask_each(&mut self, name: &str, deadline: Instant) -> Result<Vec<Rows>, StatementError> {
        let statement = self.statement(name)?;
        let each = self.manifest.sessions.get(&statement.session).is_some_and(|s| s.each.is_some());
        let databases: Vec<Option<String>> = match each {
            true => self.workload.databases.iter().cloned().map(Some).collect(),
            false => vec![None],
        };
        let mut out = Vec::new();
        for database in databases {
            out.push(self.ask(name, database.as_deref(), &[], deadline).await?);
        }
        Ok(out)
    }

    async fn send(
        &mut self,
        by: Sender,
        name: &str,
        database: Option<&str>,
        arguments: &[Value],
        deadline: Instant,
    ) -> Result<Rows, StatementError> {
        let statement = self.statement(name)?;
        let text = render(&self.manifest.client, statement, arguments)?;
        let key = self.key(&statement.session, database)?;
        let ticket = self.sent(by, name, &key, &text)?;
        // Borrowed apart: writers may wait for this.
        let columns = self.manifest.statements.get(name).map(|s| s.columns.as_slice()).unwrap_or_default();
        let session = self.sessions.get_mut(&key).ok_or_else(|| StatementError::Lost("it is not open".into()))?;
        let answer = session.run(&text, columns, deadline).await;
        self.book.audit.answered(ticket, Outcome::of(&answer));
        if let Ok(rows) = &answer {
            self.keep(name, rows);
        }
        answer
    }

    /// Keeps what exists only now, after the snapshot, where the manifest says so.
    fn keep(&mut self, name: &str, rows: &Rows) {
        let Some(statement) = self.manifest.statements.get(name).filter(|_| self.phase == Phase::Thaw) else { return };
        for row in rows {
            for (column, value) in statement.columns.iter().zip(row).filter(|(column, _)| column.keep) {
                let value = match value {
                    Value::Text(text) => text.clone(),
                    Value::Integer(n) => n.to_string(),
                    Value::Null | Value::Bytes(_) => continue,
                };
                if let Some(left) = self.kept_left.checked_sub(value.len()) {
                    self.kept_left = left;
                    self.kept.push(Kept { name: column.name.clone(), value });
                } else {
                    self.not_kept.get_or_insert_with(|| column.name.clone());
                }
            }
        }
    }

    /// A statement is about to be sent in an open session: the audit record tells of it.
    fn sent(&mut self, by: Sender, name: &str, key: &SessionKey, text: &str) -> Result<Ticket, StatementError> {
        if !self.sessions.contains_key(key) {
            return Err(StatementError::Lost("it is not open".into()));
        }
        self.sent |= by == Sender::Module;
        Ok(self.book.audit.sent(audit::Statement {
            workload: self.workload.name.clone(),
            phase: self.phase,
            by,
            name: name.into(),
            session: key.0.clone(),
            database: key.1.clone(),
            text_sha256: Digest::of(text.into()),
            linux_user: self.workload.linux_user.name.clone(),
            login: self.workload.credential.login.user.clone(),
            took_us: 0,
            outcome: Outcome::Unanswered,
        }))
    }

    /// Waits for the answer that this session owes, if it owes one.
    ///
    /// # Errors
    /// `TimedOut`, `Lost`.
    pub async fn settle(&mut self, key: &SessionKey, deadline: Instant) -> Result<(), StatementError> {
        match self.sessions.get_mut(key) {
            Some(session) => session.settle(deadline).await,
            None => Err(StatementError::Lost("it is not open".into())),
        }
    }

    /// Sends an undo as it stands in the ledger.
    ///
    /// # Errors
    /// [`StatementError`].
    pub async fn send_undo(
        &mut self,
        key: &SessionKey,
        undo: &ledger::Statement,
        deadline: Instant,
    ) -> Result<(), StatementError> {
        let ticket = self.sent(Sender::Host, &undo.name, key, &undo.text)?;
        let columns = self.manifest.statements.get(&undo.name).map(|s| s.columns.as_slice()).unwrap_or_default();
        let session = self.sessions.get_mut(key).ok_or_else(|| StatementError::Lost("it is not open".into()))?;
        let rows = session.run(&undo.text, columns, deadline).await;
        let answer = match &rows {
            // It was acknowledged, whatever it printed.
            Ok(_) | Err(StatementError::Unexpected(_) | StatementError::TooLarge) => Ok(()),
            Err(e) => Err(e.clone()),
        };
        self.book.audit.answered(ticket, Outcome::of_undo(&answer));
        if let Ok(rows) = &rows {
            self.keep(&undo.name, rows);
        }
        answer
    }

    /// Asks whether this undo has been done, as it stands in the ledger.
    ///
    /// # Errors
    /// [`StatementError`].
    pub async fn ask_again(
        &mut self,
        key: &SessionKey,
        undo: &str,
        question: &Answered,
        deadline: Instant,
    ) -> Result<Rows, StatementError> {
        // Its own session may wait for the undo still.
        let usable = |s: &Session| !s.is_busy() && !s.is_lost();
        let other = || self.sessions.iter().find(|(k, s)| k.1 == key.1 && usable(s)).map(|(k, _)| k.clone());
        let key = match self.sessions.get(key).is_some_and(usable) {
            true => key.clone(),
            false => other().unwrap_or_else(|| key.clone()),
        };
        let ticket = self.sent(Sender::Host, &format!("{undo} (was it done?)"), &key, &question.text)?;
        let session = self.session(&key)?;
        let answer = session.run(&question.text, &question.columns, deadline).await;
        self.book.audit.answered(ticket, Outcome::of(&answer));
        answer
    }

    /// From here on the server itself refuses what changes data, where it can.
    async fn make_read_only(&mut self, key: &SessionKey, deadline: Instant) -> Result<(), StatementError> {
        let Some(text) = self.manifest.client.read_only.clone() else { return Ok(()) };
        let ticket = self.sent(Sender::Host, "read_only", key, &text)?;
        let session = self.session(key)?;
        let answer = session.run(&text, &[], deadline).await;
        self.book.audit.answered(ticket, Outcome::of(&answer));
        answer.map(drop)
    }

    /// Sends nothing but the tag.
    async fn touch(&mut self, key: &SessionKey, deadline: Instant) -> Result<(), StatementError> {
        let session = self.session(key)?;
        session.touch(deadline).await
    }

    fn statement(&self, name: &str) -> Result<&Statement, StatementError> {
        self.manifest.statements.get(name).ok_or_else(|| StatementError::Undeclared(name.into()))
    }

    fn session(&mut self, key: &SessionKey) -> Result<&mut Session, StatementError> {
        self.sessions.get_mut(key).ok_or_else(|| StatementError::Lost("it is not open".into()))
    }

    fn key(&self, session: &str, database: Option<&str>) -> Result<SessionKey, StatementError> {
        let each = self.manifest.sessions.get(session).is_some_and(|s| s.each.is_some());
        match (each, database) {
            (true, Some(d)) if self.workload.databases.iter().any(|x| x == d) => Ok((session.into(), Some(d.into()))),
            (true, Some(_)) => Err(StatementError::Refused("this database is not in dbnames".into())),
            (true, None) => {
                Err(StatementError::Undeclared("this session is opened for each database: name one".into()))
            }
            (false, None) => Ok((session.into(), None)),
            (false, Some(_)) => Err(StatementError::Undeclared("this session is not opened for each database".into())),
        }
    }

    /// Whether this server is a replica. `None` where its module cannot ask.
    ///
    /// # Errors
    /// [`StatementError`].
    pub async fn role(&mut self, deadline: Instant) -> Result<Option<Role>, StatementError> {
        let Some(manifest::Role { statement, replica }) = self.manifest.role.clone() else { return Ok(None) };
        let answer = self.ask_one(&statement, None, deadline).await?;
        Ok(Some(if replica.value() == Some(answer) { Role::Replica } else { Role::Primary }))
    }

    /// Asks for the answers that prove the freeze, as they are just after it.
    ///
    /// # Errors
    /// The statement that gave no answer.
    pub async fn take_proofs(&mut self, deadline: Instant) -> Result<(), StatementError> {
        for i in 0..self.frozen.len() {
            for n in 0..self.frozen[i].proofs.len() {
                let Frozen { key, proofs, .. } = &self.frozen[i];
                if proofs[n].answer.is_none() {
                    let (statement, database) = (proofs[n].statement.clone(), key.1.clone());
                    let answer = self.ask_proof(&statement, database.as_deref(), deadline).await?;
                    self.frozen[i].proofs[n].answer = Some(answer);
                }
            }
        }
        Ok(())
    }

    /// Whether everything that was frozen was held to this moment.
    ///
    /// # Errors
    /// In words: what was not.
    pub async fn prove(&mut self, deadline: Instant) -> Result<(), String> {
        let mut proved = Vec::new();
        for frozen in self.frozen.clone() {
            let mut outcome = Err("it has no proof".to_owned());
            for proof in &frozen.proofs {
                outcome = self.proves(&frozen, proof, &mut proved, deadline).await;
                if outcome.is_ok() {
                    break;
                }
            }
            outcome?;
        }
        Ok(())
    }

    /// Asks one proof of one freeze. What was asked and proved already, for another freeze, is not asked again.
    async fn proves(
        &mut self,
        frozen: &Frozen,
        proof: &Proof,
        proved: &mut Vec<(String, SessionKey, Vec<Value>)>,
        deadline: Instant,
    ) -> Result<(), String> {
        let named = proof.expected.value();
        let first_only = named.is_some();
        let want = named.map(|value| vec![value]).or_else(|| proof.answer.clone());
        let want = want.ok_or("the freeze was not proved to begin with")?;
        let question = (proof.statement.clone(), frozen.key.clone(), want);
        if proved.contains(&question) {
            return Ok(());
        }
        let froze = &frozen.statement;
        let asked = self.ask_proof(&proof.statement, frozen.key.1.as_deref(), deadline).await;
        let mut got = asked.map_err(|e| format!("{froze} could not be proved: {e}"))?;
        if first_only {
            got.truncate(1);
        }
        if got != question.2 {
            return Err(format!("{froze} did not hold to the end"));
        }
        proved.push(question);
        Ok(())
    }

    /// Whether the clients have opened the very files that were looked at: a path can lead elsewhere in between.
    ///
    /// # Errors
    /// In words: which is another one.
    pub fn files_are_open(&self) -> Result<(), String> {
        for file in &self.files {
            let mut clients = self.sessions.iter().filter(|(key, _)| key.1.as_deref() == Some(&file.path));
            if !clients.all(|(_, session)| session.has_open(file.device, file.inode)) {
                return Err(format!("the client has opened another file than {}", file.path));
            }
        }
        Ok(())
    }

    /// Whether the databases that are files are still the ones that were opened.
    ///
    /// # Errors
    /// In words: which is not.
    pub async fn prove_files(&self, deadline: Instant) -> Result<(), String> {
        if self.files.is_empty() {
            return Ok(());
        }
        let files = self.files.clone();
        let clients: Vec<(i32, Option<PathBuf>)> =
            self.sessions.values().map(|s| (s.process.pid, s.group.clone())).collect();
        // A filesystem may hang: it is not waited for longer than anything else.
        let looked = tokio::task::spawn_blocking(move || files.iter().try_for_each(|file| file.prove(&clients)));
        timeout_at(deadline, looked)
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or(Err("its files could not be looked at".into()))
    }

    async fn ask_proof(
        &mut self,
        statement: &str,
        database: Option<&str>,
        deadline: Instant,
    ) -> Result<Vec<Value>, StatementError> {
        let rows = self.ask(statement, database, &[], deadline).await?;
        <[_; 1]>::try_from(rows)
            .map(|[row]| row)
            .map_err(|_| StatementError::Unexpected(format!("{statement} gave not one row")))
    }

    /// What made one client hang may have made all of them hang: cancels through one that is started now.
    async fn cancel_anew(&mut self, cancel: &str, id: &Value, longest: Duration) -> bool {
        let Some(statement) = self.manifest.statements.get(cancel) else { return false };
        let key = (statement.session.clone(), None);
        if let Some(mut old) = self.sessions.remove(&key) {
            old.kill(longest).await;
        }
        let deadline = Instant::now() + longest;
        self.open(&key).is_ok() && self.ask(cancel, None, std::slice::from_ref(id), deadline).await.is_ok()
    }

    /// Where this freeze may not have been answered yet, and its undo goes by another session, ends its session on the
    /// server: what it would do later nobody takes back. A session that both share is waited for. True when nothing of it can
    /// come later.
    pub async fn end_unanswered(&mut self, froze: &str, undo: &SessionKey, longest: Duration) -> bool {
        let Some(statement) = self.manifest.statements.get(froze) else { return true };
        let unanswered = self.unanswered.contains(&(froze.to_owned(), undo.1.clone()));
        let key = (statement.session.clone(), undo.1.clone());
        let can_be_cancelled = self.manifest.sessions.get(&key.0).is_some_and(|s| s.cancel.is_some());
        let busy = self.sessions.get(&key).is_some_and(Session::is_busy);
        if !unanswered && (!busy || key == *undo) {
            true
        } else if key == *undo {
            self.settle(&key, Instant::now() + longest).await.is_ok()
        } else if can_be_cancelled {
            self.end_session(&key, longest).await
        } else {
            !unanswered
        }
    }

    /// Whether the database says that it cannot be held, and why.
    ///
    /// # Errors
    /// [`StatementError`].
    pub async fn unheld(&mut self, deadline: Instant) -> Result<Option<String>, StatementError> {
        let Some(unheld) = self.manifest.data.unheld.clone() else { return Ok(None) };
        match self.ask_one(&unheld.statement, None, deadline).await? {
            Value::Text(state) => Ok(unheld.states.get(&state).cloned()),
            _ => Err(StatementError::Unexpected(format!("{} gave no text", unheld.statement))),
        }
    }

    /// Whether a client owes an answer: nothing more is asked of it.
    pub fn is_waiting(&self) -> bool {
        self.sessions.values().any(Session::is_busy)
    }

    /// Ends a session of ours through the one that can, then its client. True when it is certain that what it held is
    /// gone.
    pub async fn end_session(&mut self, key: &SessionKey, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        let busy = self.sessions.get(key).is_some_and(Session::is_busy);
        let cancel = self.manifest.sessions.get(&key.0).and_then(|s| s.cancel.clone());
        let mut cancelled = false;
        if let (Some(cancel), Some(id)) = (cancel, self.ids.get(key).cloned()) {
            cancelled = self.ask(&cancel, None, std::slice::from_ref(&id), deadline).await.is_ok();
            if !cancelled {
                cancelled = self.cancel_anew(&cancel, &id, longest).await;
            }
        }
        let Some(session) = self.sessions.get_mut(key) else { return true };
        let dead = session.kill(longest).await;
        // A server notices the death of an idle client at once; a statement that still waits for a lock holds on until
        // it is cancelled or its own bound ends it.
        dead && (cancelled || !busy || self.manifest.sessions.get(&key.0).is_none_or(|s| s.cancel.is_none()))
    }
}

/// A database that is a file, and which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFile {
    path: String,
    device: u64,
    inode: u64,
}

impl DatabaseFile {
    fn find(path: &str) -> Result<DatabaseFile, String> {
        let file = std::fs::metadata(path).map_err(|e| e.to_string())?;
        if file.is_file() {
            Ok(DatabaseFile { path: path.into(), device: file.dev(), inode: file.ino() })
        } else {
            Err("it is no file".into())
        }
    }

    /// Whether it is still the one that was opened, with what lies beside it under a longer name, such as SQLite's `-wal`: a
    /// copy lacks what these clients still have open and somebody has removed.
    fn prove(&self, clients: &[(i32, Option<PathBuf>)]) -> Result<(), String> {
        match DatabaseFile::find(&self.path) {
            Ok(now) if now == *self => {}
            Ok(_) => return Err(format!("{} was replaced by another file", self.path)),
            Err(why) => return Err(format!("{} is gone from its place: {why}", self.path)),
        }
        let real = Path::new(&self.path).canonicalize().map_err(|e| format!("{}: {e}", self.path))?;
        let mut removed = clients.iter().filter_map(|(pid, group)| process::has_removed(*pid, group.as_deref(), &real));
        match removed.next() {
            Some(file) => Err(format!("{} was removed", file.display())),
            None => Ok(()),
        }
    }
}

/// Whether nobody but root can write a database, lead its path elsewhere, or lay a journal beside it that names other files.
fn only_roots(database: &Path) -> Result<(), String> {
    // First the path as it is opened: where others can change no step of it, it leads where it leads.
    ownership::check(database, &[]).map_err(|problem| problem.to_string())?;
    let real = database.canonicalize().map_err(|e| e.to_string())?;
    ownership::check(real.parent().unwrap_or(&real), &[]).map_err(|problem| problem.to_string())
}

/// Who owns a database, if not root.
fn owner(database: &Path) -> Option<String> {
    let uid = std::fs::metadata(database).ok()?.uid();
    nix::unistd::User::from_uid(uid.into()).ok()?.map(|user| user.name).filter(|_| uid != 0)
}

fn undo_name<'m>(manifest: &'m Manifest, froze: &str) -> Option<&'m str> {
    manifest.statements.get(froze)?.undo.as_ref().map(|u| u.statement.as_str())
}
