//! Write-ahead undo: what must be taken back, written down before it happens.
//!
//! [`Ledger`] is a pure state machine; [`mod@file`] puts its lines on disk.

pub mod file;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillpoint_contract::manifest::{Column, Lasts};
use stillpoint_contract::message::{StatementError, Value};

use crate::client::reach::Reach;
use crate::sys::freeze::Superblock;
use crate::sys::process::ProcessId;

/// The version of the file.
pub const VERSION: u32 = 1;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A cycle begins. Always the first line.
    Open {
        /// Of this file: [`VERSION`].
        version: u32,
        /// Its id.
        cycle: String,
        /// The boot in which it runs.
        boot: String,
    },
    /// Before a freezing statement is sent.
    Armed(Box<Entry>),
    /// After it was taken back, or after it was found gone.
    Undone {
        /// [`Entry::number`].
        number: u32,
        /// How, in one word or two.
        how: String,
    },
}

/// What must be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1 within the cycle.
    pub number: u32,
    /// Whose: the workload's name in the configuration; for a filesystem, its path.
    pub workload: String,
    /// The freezing statement's name; for a filesystem, `FIFREEZE`.
    pub froze: String,
    /// How long the freeze lasts by itself.
    pub lasts: Lasts,
    /// How to take it back.
    pub undo: Undo,
}

/// How something is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// By a statement.
    Statement(Box<Statement>),
    /// By thawing a filesystem.
    Filesystem(Filesystem),
}

/// A statement that takes something back, with all that is needed to send it without module and configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Its name.
    pub name: String,
    /// As it will be sent, arguments and all.
    pub text: String,
    /// The session it runs in.
    pub session: String,
    /// The database, where the session is opened for each.
    pub database: Option<String>,
    /// The client that froze.
    pub process: ProcessId,
    /// The control group of that client.
    pub group: Option<PathBuf>,
    /// How to start the client again.
    pub reach: Reach,
    /// Which server it was, and how to ask.
    pub identity: Option<Answered>,
    /// What was set, and how to ask whether that is still so: where the manifest says so beforehand.
    pub set: Option<Answered>,
    /// The statement that ends the session on the server, where one is declared: a killed client does not free a lock
    /// that its statement still waits for.
    pub cancel: Option<String>,
    /// Codes of errors that say that there is nothing to take back.
    #[serde(default)]
    pub nothing: Vec<String>,
    /// What a person must know where it cannot be sent.
    #[serde(default)]
    pub by_hand: Option<String>,
}

impl Statement {
    /// Whether it was refused because there is nothing to take back.
    pub fn finds_nothing(&self, why: &StatementError) -> bool {
        matches!(why, StatementError::Failed(e) if self.nothing.contains(&e.code))
    }
}

/// A question to the database, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The statement, as it is sent.
    pub text: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The first column of its only row.
    pub answer: Value,
}

/// A filesystem that we froze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// As configured.
    pub path: PathBuf,
    /// Which one it is.
    pub superblock: Superblock,
}

impl Entry {
    /// Whether taking back both is the same act.
    fn same_undo(&self, other: &Entry) -> bool {
        let same = match (&self.undo, &other.undo) {
            (Undo::Statement(a), Undo::Statement(b)) => {
                (&a.session, &a.database, &a.text, a.process) == (&b.session, &b.database, &b.text, b.process)
            }
            (a, b) => a == b,
        };
        same && self.workload == other.workload && self.lasts == other.lasts
    }

    /// The statement, where it is one.
    pub fn statement(&self) -> Option<&Statement> {
        match &self.undo {
            Undo::Statement(statement) => Some(statement),
            Undo::Filesystem(_) => None,
        }
    }

    /// For people: whose, and what.
    pub fn words(&self) -> String {
        format!("{}: {}", self.workload, self.froze)
    }

    /// What a person types where nothing else helps.
    pub fn by_hand(&self) -> String {
        match &self.undo {
            Undo::Statement(s) => {
                let first = s.by_hand.as_deref().unwrap_or("see that the server is up");
                // The undo of what a session holds is of no use in another one.
                let text = match self.lasts {
                    Lasts::Session => s.cancel.as_ref(),
                    Lasts::Server | Lasts::Disk | Lasts::Expires => Some(&s.text),
                };
                let else_type = text.map(|t| format!("; else type  {t}{}  in its client", s.reach.client.end));
                format!("{first}, then  stillpoint recover {}", else_type.unwrap_or_default())
            }
            Undo::Filesystem(f) => format!("fsfreeze --unfreeze {}", f.path.display()),
        }
    }
}

/// What is armed at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    cycle: String,
    boot: String,
    armed: Vec<Entry>,
    undone: Vec<(Entry, String)>,
    last: u32,
}

impl Ledger {
    /// A cycle begins.
    pub fn open(cycle: &str, boot: &str) -> (Ledger, Line) {
        let ledger = Ledger { cycle: cycle.into(), boot: boot.into(), ..Ledger::default() };
        (ledger, Line::Open { version: VERSION, cycle: cycle.into(), boot: boot.into() })
    }

    /// The cycle's id.
    pub fn cycle(&self) -> &str {
        &self.cycle
    }

    /// The boot in which the cycle ran.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Arms an undo. `None` when an equal one is armed already, so that there is nothing to write. An entry that lasts
    /// longer replaces nothing: it is another act.
    pub fn arm(&mut self, mut entry: Entry) -> Option<Line> {
        if self.armed.iter().any(|a| a.same_undo(&entry)) {
            return None;
        }
        self.last += 1;
        entry.number = self.last;
        self.armed.push(entry.clone());
        Some(Line::Armed(Box::new(entry)))
    }

    /// Disarms every entry that `done` accepts; gives the lines to write.
    pub fn disarm(&mut self, how: &str, done: impl Fn(&Entry) -> bool) -> Vec<Line> {
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.armed).into_iter().partition(|e| done(e));
        self.armed = left;
        gone.into_iter().map(|e| Line::Undone { number: e.number, how: how.into() }).collect()
    }

    /// What has to be taken back, in the order in which to do it: the last first.
    pub fn armed(&self) -> impl Iterator<Item = &Entry> {
        self.armed.iter().rev()
    }

    /// What was armed and has been taken back, and how: of a ledger that was read.
    pub fn undone(&self) -> impl Iterator<Item = &(Entry, String)> {
        self.undone.iter()
    }

    /// Rebuilds the state from a file's lines. Lines after one that cannot be are ignored.
    pub fn replay(lines: impl IntoIterator<Item = Line>) -> Option<Ledger> {
        let mut lines = lines.into_iter();
        let Some(Line::Open { version: VERSION, cycle, boot }) = lines.next() else { return None };
        let mut ledger = Ledger { cycle, boot, ..Ledger::default() };
        let mut closed = BTreeSet::new();
        for line in lines {
            match line {
                Line::Open { .. } => break,
                // A guard may have been told the same twice.
                Line::Armed(entry) if ledger.armed.iter().any(|e| e.number == entry.number) => {}
                // Two threads write where a disk was late: its closing line may have come first.
                Line::Armed(entry) if closed.contains(&entry.number) => {}
                Line::Armed(entry) => {
                    ledger.last = ledger.last.max(entry.number);
                    ledger.armed.push(*entry);
                }
                Line::Undone { number, how } => {
                    closed.insert(number);
                    let gone = ledger.armed.extract_if(.., |e| e.number == number);
                    ledger.undone.extend(gone.map(|e| (e, how.clone())));
                }
            }
        }
        Some(ledger)
    }
}

/// What recovery does about an entry of a cycle whose keeper is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterALoss {
    /// End the client if it still runs; with it the freeze is gone.
    EndClient,
    /// Run the undo, unless the server turns out to be another one.
    Undo,
    /// What held it is gone.
    Gone,
}

/// Decides by the entry and whether the machine still runs the boot in which it was written. A reboot and a machine that
/// was restored from the snapshot look alike, and are treated alike.
pub fn after_a_loss(lasts: Lasts, same_boot: bool) -> AfterALoss {
    match (lasts, same_boot) {
        (Lasts::Disk, _) | (Lasts::Server | Lasts::Expires, true) => AfterALoss::Undo,
        (Lasts::Session, true) => AfterALoss::EndClient,
        (Lasts::Session | Lasts::Server | Lasts::Expires, false) => AfterALoss::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(text: &str, lasts: Lasts) -> Entry {
        Entry {
            number: 0,
            workload: "w".into(),
            froze: "f".into(),
            lasts,
            undo: Undo::Statement(Box::new(Statement {
                name: "u".into(),
                text: text.into(),
                session: "s".into(),
                database: None,
                process: ProcessId { pid: 1, started: 1 },
                group: None,
                reach: Reach::for_tests(),
                identity: None,
                set: None,
                cancel: None,
                nothing: vec![],
                by_hand: None,
            })),
        }
    }

    fn text(entry: &Entry) -> &str {
        entry.statement().map_or("", |s| s.text.as_str())
    }

    #[test]
    fn equal_undos_are_one_and_the_last_comes_first() {
        let (mut ledger, _) = Ledger::open("c", "b");
        assert!(ledger.arm(entry("A", Lasts::Session)).is_some());
        assert!(ledger.arm(entry("B", Lasts::Session)).is_some());
        assert!(ledger.arm(entry("A", Lasts::Session)).is_none());
        assert_eq!(ledger.armed().map(text).collect::<Vec<_>>(), ["B", "A"]);
        assert_eq!(ledger.disarm("undone", |e| text(e) == "A").len(), 1);
        assert_eq!(ledger.armed().count(), 1);
    }

    #[test]
    fn recovery_is_as_the_design_says() {
        assert_eq!(after_a_loss(Lasts::Session, true), AfterALoss::EndClient);
        assert_eq!(after_a_loss(Lasts::Session, false), AfterALoss::Gone);
        assert_eq!(after_a_loss(Lasts::Server, true), AfterALoss::Undo);
        assert_eq!(after_a_loss(Lasts::Server, false), AfterALoss::Gone);
        assert_eq!(after_a_loss(Lasts::Disk, false), AfterALoss::Undo);
    }

    proptest! {
        /// Whatever was written, the file tells the same story as the memory did.
        #[test]
        fn replay_gives_what_was_armed(acts in prop::collection::vec((any::<bool>(), 0u8..5), 0..30)) {
            let (mut ledger, first) = Ledger::open("c", "b");
            let mut lines = vec![first];
            for (arm, which) in acts {
                let which = which.to_string();
                if arm {
                    lines.extend(ledger.arm(entry(&which, Lasts::Disk)));
                } else {
                    lines.extend(ledger.disarm("undone", |e| text(e) == which));
                }
            }
            let again = Ledger::replay(lines).unwrap();
            prop_assert!(again.armed().eq(ledger.armed()));
        }
    }
}
