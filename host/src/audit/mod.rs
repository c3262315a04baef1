//! The audit record: what a cycle sent, refused, published and concluded, each entry chained by hash to the one before.
//!
//! While the cycle runs, entries are only pushed into memory: small, bounded, neither hashed nor serialised, because
//! writers may wait. [`chain`] writes them once check is over, while nothing is frozen, and after the last undo.
//! [`verify`](mod@verify) tells whether what is kept is what was written. No secret and no row of a database gets in: of a
//! statement's text there is a digest, of an error its number, and of what a module says at most one plain word.

pub mod chain;
pub mod verify;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stillpoint_contract::message::{DatabaseError, LONGEST_KIND, Phase, Rows, StatementError};

use crate::cycle::record::{Kind, Record, Verdict, microseconds};
use crate::fault::{Exit, Fault};
use crate::ledger;
use crate::trust::sha256;
use chain::Chain;

/// The version of the entries.
pub const VERSION: u32 = 1;

/// The most statements that one module may send in one cycle.
pub const MOST_STATEMENTS: u32 = 10_000;

/// The most refusals of one workload that have an entry each. The others are counted.
const MOST_REFUSALS: u64 = 1_000;

/// A text up to this long, in bytes, is kept and hashed after the thaw. Hashing a longer one takes less time than sending it.
const SHORT: usize = 512;

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it began.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

impl From<What> for Entry {
    fn from(what: What) -> Entry {
        Entry { at: Timestamp::now(), what }
    }
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum What {
    /// A cycle begins. Always the first entry of its file, and only there.
    Begin(Begin),
    /// Records of earlier cycles are removed, as the configuration asks.
    Retention {
        /// Which, the newest first.
        removed: Vec<Removed>,
    },
    /// A statement was sent.
    Statement(Box<Statement>),
    /// A module asked for what it may not have. Nothing was sent.
    Refusal {
        /// Whose module.
        workload: String,
        /// In which phase.
        phase: Phase,
        /// The statement's name or the interface.
        asked: String,
        /// Of a name that is no plain word, which is not kept.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        asked_sha256: Option<Digest>,
        /// Why.
        why: String,
    },
    /// More refusals than have entries of their own.
    MoreRefusals {
        /// Whose module.
        workload: String,
        /// How many more.
        count: u64,
    },
    /// Something was published on the messaging channel.
    Event {
        /// Its kind, such as `cycle.frozen` or `module.KIND`.
        event: String,
        /// Whose, where it is a workload's.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        workload: Option<String>,
        /// Of a module's text.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        text_sha256: Option<Digest>,
    },
    /// A filesystem was asked to freeze, or to thaw.
    Filesystem {
        /// As configured.
        path: String,
        /// Which of both.
        act: Act,
        /// `done`, `already so`, `failed` or `no answer in time`.
        outcome: String,
        /// How long it took, in microseconds.
        took_us: u64,
    },
    /// What was armed in the ledger is taken back, or could not be.
    Undo {
        /// Whose: the workload's name; for a filesystem, its path.
        workload: String,
        /// The freezing statement's name; for a filesystem, `FIFREEZE`.
        froze: String,
        /// Who took it back.
        by: Who,
        /// How; `failed` where it still stands.
        how: String,
    },
    /// The record was left without its end: its keeper was lost, or could not write.
    Lost {
        /// Who ends it.
        by: Who,
    },
    /// The cycle is over. Always the last entry of a whole record.
    Verdict {
        /// What may be believed about the snapshot.
        verdict: Verdict,
        /// In which way it is application-consistent.
        kind: Option<Kind>,
        /// How the command ends because of it.
        exit: Exit,
        /// Why the thaw began.
        released_by: Option<String>,
        /// Each workload and its own verdict.
        workloads: BTreeMap<String, Verdict>,
    },
}

/// The first entry of a cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Of the entries: [`VERSION`].
    pub version: u32,
    /// The cycle's id.
    pub cycle: String,
    /// The cycle before it, whose head stands in `previous`.
    pub after: Option<String>,
    /// The version of this program.
    pub stillpoint: String,
    /// The file of the configuration.
    pub configuration: String,
    /// What takes part.
    pub workloads: Vec<Begun>,
}

/// A workload that takes part in a cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Its name in the configuration.
    pub name: String,
    /// Its module.
    pub module: String,
    /// The module's version.
    pub version: String,
    /// SHA-256 of the signed manifest.
    pub manifest_sha256: Digest,
    /// SHA-256 of the component that runs.
    pub wasm_sha256: String,
    /// Whose signatures held.
    pub signers: Vec<String>,
}

/// A record that is no longer kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The cycle's id.
    pub cycle: String,
    /// Its head.
    pub head: String,
}

/// A statement that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Whose.
    pub workload: String,
    /// The phase in which its module was called last.
    pub phase: Phase,
    /// Who wanted it.
    pub by: Sender,
    /// Its name in the manifest.
    pub name: String,
    /// The session it ran in.
    pub session: String,
    /// The database, where the session is opened for each.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub database: Option<String>,
    /// SHA-256 of the text as it was sent, arguments and all.
    pub text_sha256: Digest,
    /// Who ran the client.
    pub linux_user: String,
    /// The login's user, where the configuration names one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub login: Option<String>,
    /// How long the answer took, in microseconds.
    pub took_us: u64,
    /// What came back.
    pub outcome: Outcome,
}

/// Who wants a statement sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sender {
    /// The module.
    Module,
    /// The host: sessions, proofs, undos.
    Host,
}

/// Who took something back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The cycle's keeper.
    Keeper,
    /// Its guard.
    Guard,
    /// Recovery: at boot, by hand, or before the next cycle.
    Recovery,
}

/// What is done to a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// It is frozen.
    Freeze,
    /// It is thawed.
    Thaw,
}

/// What came back for a statement. Never the words of a database: they may hold its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was sent, and whoever waited for the answer was stopped.
    Unanswered,
    /// So many rows.
    Rows(u64),
    /// Acknowledged; its rows were not read.
    Done,
    /// The database refused it.
    Error {
        /// The database's number for it.
        code: String,
        /// The SQLSTATE.
        state: String,
    },
    /// No answer in time.
    TimedOut,
    /// The session is gone.
    Lost,
    /// The answer was longer than the limits allow.
    TooLarge,
    /// The answer did not have the declared columns.
    Unexpected,
}

impl Outcome {
    /// Of rows, or of why there are none.
    pub fn of(answer: &Result<Rows, StatementError>) -> Outcome {
        match answer {
            Ok(rows) => Outcome::Rows(rows.len() as u64),
            Err(error) => Outcome::of_error(error),
        }
    }

    /// Of a statement whose rows nobody reads.
    pub fn of_undo(answer: &Result<(), StatementError>) -> Outcome {
        answer.as_ref().map_or_else(Outcome::of_error, |()| Outcome::Done)
    }

    fn of_error(error: &StatementError) -> Outcome {
        match error {
            StatementError::Failed(DatabaseError { code, state, .. }) => {
                Outcome::Error { code: number(code), state: number(state) }
            }
            StatementError::TimedOut => Outcome::TimedOut,
            StatementError::Lost(_) => Outcome::Lost,
            StatementError::TooLarge => Outcome::TooLarge,
            StatementError::Undeclared(_) | StatementError::Refused(_) | StatementError::Unexpected(_) => {
                Outcome::Unexpected
            }
        }
    }
}

/// A client printed it where its error numbers stand: what is none may be anything.
fn number(text: &str) -> String {
    let plain = text.len() <= 16 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain { text.into() } else { String::new() }
}

/// The SHA-256 of a text. Of a short one it is taken when the entry is written.
#[derive(Debug, Clone)]
pub enum Digest {
    /// Of this text.
    Of(String),
    /// In hexadecimal.
    Known(String),
}

impl Digest {
    /// Of a text.
    pub fn of(text: String) -> Digest {
        if text.len() <= SHORT { Digest::Of(text) } else { Digest::Known(sha256(text.as_bytes())) }
    }

    /// In hexadecimal.
    pub fn hex(&self) -> String {
        match self {
            Digest::Of(text) => sha256(text.as_bytes()),
            Digest::Known(hex) => hex.clone(),
        }
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Digest) -> bool {
        self.hex() == other.hex()
    }
}

impl Eq for Digest {}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.hex().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer).map(Digest::Known)
    }
}

/// What a running cycle has collected. Clones collect into the same record.
#[derive(Debug, Clone, Default)]
pub struct Audit(Rc<Collected>);

#[derive(Debug, Default)]
struct Collected {
    entries: RefCell<Vec<Entry>>,
    /// How many entries were handed over to be written.
    handed_over: Cell<u64>,
    refusals: RefCell<BTreeMap<String, u64>>,
    writing: RefCell<Option<Writing>>,
}

/// A statement whose answer is not known yet.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    number: u64,
    sent: tokio::time::Instant,
}

impl Audit {
    /// From here on entries can be written to this file.
    pub fn write_to(&self, chain: Chain) {
        // Room for a usual cycle, so that nothing moves while writers wait.
        self.0.entries.borrow_mut().reserve(1024);
        *self.0.writing.borrow_mut() = Some(Writing { ready: Arc::default(), chain: Arc::new(Mutex::new(chain)) });
    }

    /// Something happened.
    pub fn push(&self, what: What) {
        self.0.entries.borrow_mut().push(what.into());
    }

    /// A statement is sent now: whatever becomes of who waits for it, it has its entry.
    pub fn sent(&self, statement: Statement) -> Ticket {
        let number = self.0.handed_over.get() + self.0.entries.borrow().len() as u64;
        self.push(What::Statement(Box::new(statement)));
        Ticket { number, sent: tokio::time::Instant::now() }
    }

    /// It was answered.
    pub fn answered(&self, ticket: Ticket, how: Outcome) {
        let Some(at) = ticket.number.checked_sub(self.0.handed_over.get()) else { return };
        let mut entries = self.0.entries.borrow_mut();
        let entry = usize::try_from(at).ok().and_then(|at| entries.get_mut(at));
        if let Some(Entry { what: What::Statement(statement), .. }) = entry {
            statement.took_us = microseconds(ticket.sent.elapsed());
            statement.outcome = how;
        }
    }

    /// A module was refused something.
    pub fn refused(&self, workload: &str, phase: Phase, asked: &str, why: &str) {
        let mut refusals = self.0.refusals.borrow_mut();
        if !refusals.contains_key(workload) {
            refusals.insert(workload.into(), 0);
        }
        let Some(count) = refusals.get_mut(workload) else { return };
        *count += 1;
        if *count > MOST_REFUSALS {
            return;
        }
        // A module can put into a name whatever it has read: more than a plain word is not kept.
        let plain = (1..=LONGEST_KIND).contains(&asked.len())
            && asked.bytes().all(|b| b.is_ascii_lowercase() || b"_-.".contains(&b));
        let (asked, digest) =
            if plain { (asked.into(), None) } else { (String::new(), Some(Digest::of(asked.into()))) };
        self.push(What::Refusal { workload: workload.into(), phase, asked, asked_sha256: digest, why: why.into() });
    }

    /// Something that was armed is taken back, or is not.
    pub fn undo(&self, entry: &ledger::Entry, by: Who, how: &str) {
        self.push(undo(entry, by, how));
    }

    /// The cycle is over.
    pub fn conclude(&self, record: &Record) {
        for (workload, count) in std::mem::take(&mut *self.0.refusals.borrow_mut()) {
            if let Some(count) = count.checked_sub(MOST_REFUSALS).filter(|n| *n > 0) {
                self.push(What::MoreRefusals { workload, count });
            }
        }
        self.push(verdict(record));
    }

    /// Hands over what was collected, to be written on a thread that may block. `None` where there is no file.
    pub fn hand_over(&self) -> Option<Writing> {
        let writing = self.0.writing.borrow().clone()?;
        let mut entries = self.0.entries.borrow_mut();
        self.0.handed_over.set(self.0.handed_over.get() + entries.len() as u64);
        let room = entries.capacity();
        let collected = std::mem::replace(&mut *entries, Vec::with_capacity(room));
        // In this order they are written, whichever thread comes first.
        lock(&writing.ready).extend(collected);
        Some(writing)
    }
}

/// Entries that were handed over, and their file.
#[derive(Debug, Clone)]
pub struct Writing {
    ready: Arc<Mutex<Vec<Entry>>>,
    chain: Arc<Mutex<Chain>>,
}

impl Writing {
    /// Writes them so that they outlive this process.
    ///
    /// # Errors
    /// What the system gives.
    pub fn write(&self) -> io::Result<()> {
        let mut chain = lock(&self.chain);
        let mut ready = lock(&self.ready);
        chain.append(&ready)?;
        ready.clear();
        Ok(())
    }

    /// Writes them so that they outlive the machine's next loss of power. Gives the head.
    ///
    /// # Errors
    /// What the system gives.
    pub fn finish(&self) -> io::Result<String> {
        self.write()?;
        lock(&self.chain).settle()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An entry of the ledger was taken back, or could not be.
pub fn undo(entry: &ledger::Entry, by: Who, how: &str) -> What {
    What::Undo { workload: entry.workload.clone(), froze: entry.froze.clone(), by, how: how.into() }
}

/// The last entry of a cycle.
pub fn verdict(record: &Record) -> What {
    What::Verdict {
        verdict: record.verdict,
        kind: record.kind,
        exit: record.exit,
        released_by: record.released_by.clone(),
        workloads: record.workloads.iter().map(|w| (w.name.clone(), w.verdict)).collect(),
    }
}

/// What is to be said of the undos in a cycle that lost its keeper: each with how it was taken back, where it was.
pub fn undos(armed: &[ledger::Entry], closing: &[ledger::Line], by: Who) -> Vec<Entry> {
    let how = |number: u32| {
        closing.iter().find_map(|line| match line {
            ledger::Line::Undone { number: n, how } if *n == number => Some(how.as_str()),
            _ => None,
        })
    };
    armed.iter().map(|e| undo(e, by, how(e.number).unwrap_or("failed")).into()).collect()
}

/// Ends the record of a cycle that lost its keeper: that it did, what was taken back, the verdict. The record is told its
/// head, or that there is none: nobody is left frozen for want of it. And when the cycle began.
pub fn end_lost(folder: &Path, by: Who, undos: &[Entry], record: &mut Record) {
    if let Some(at) = chain::began(folder, &record.cycle) {
        record.began_at = at;
    }
    let ended = Chain::reopen(folder, &record.cycle).and_then(|mut chain| {
        chain.append(&[What::Lost { by }.into()])?;
        chain.append(undos)?;
        chain.append(&[verdict(record).into()])?;
        chain.settle()
    });
    match ended {
        Ok(head) => record.head = Some(head),
        Err(e) => record.warnings.push(not_written(&e)),
    }
}

/// The audit record could not be written.
pub fn not_written(why: &io::Error) -> Fault {
    let what = format!("the audit record could not be written to its end: {why}.");
    Fault::new("SP-AUDIT-001", Exit::Internal, what).next("see whether the disk is full;  stillpoint record verify")
}

/// The digest of what is kept as bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::Known(sha256(bytes))
}

/// How long something took, as an entry has it.
pub fn took(since: tokio::time::Instant) -> u64 {
    microseconds(since.elapsed())
}

#[cfg(test)]
mod tests;
