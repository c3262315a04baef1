//! Write-ahead undo: what must be taken back, written down before it happens.
//!
//! [`Ledger`] is a pure state machine; [`file`] puts its lines on disk.

pub mod file;

use serde::{Deserialize, Serialize};
use stillpoint_contract::manifest::{Client, Column, Lasts};

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
    /// The workload's name in the configuration.
    pub workload: String,
    /// The freezing statement's name.
    pub froze: String,
    /// The undo's name.
    pub undo: String,
    /// The undo as it will be sent, arguments and all.
    pub text: String,
    /// The session it runs in.
    pub session: String,
    /// The database, where the session is opened for each.
    pub database: Option<String>,
    /// How long the freeze lasts by itself.
    pub lasts: Lasts,
    /// The client that froze.
    pub process: ProcessId,
    /// What told the running server from another one, where the module can tell.
    pub identity: Option<String>,
    /// How to reach the database again.
    pub again: Again,
}

/// How to start the client again: with *where* its credential is, never the credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The configuration that names workload, user and credential.
    pub configuration: std::path::PathBuf,
    /// The client as the manifest declared it.
    pub client: Client,
    /// The statement that answers with [`Entry::identity`], and its columns.
    pub identity: Option<(String, Vec<Column>)>,
    /// The statement that ends the session on the server, where one is declared: a killed client does not free a lock
    /// that its statement still waits for.
    pub cancel: Option<String>,
}

impl Entry {
    /// Whether taking back both is the same act.
    fn same_undo(&self, other: &Entry) -> bool {
        (&self.workload, &self.session, &self.database, &self.text, self.process)
            == (&other.workload, &other.session, &other.database, &other.text, other.process)
    }
}

/// What is armed at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    cycle: String,
    boot: String,
    armed: Vec<Entry>,
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
        if self.armed.iter().any(|a| a.same_undo(&entry) && a.lasts == entry.lasts) {
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

    /// Rebuilds the state from a file's lines. Lines after one that cannot be are ignored.
    pub fn replay(lines: impl IntoIterator<Item = Line>) -> Option<Ledger> {
        let mut lines = lines.into_iter();
        let Some(Line::Open { version: VERSION, cycle, boot }) = lines.next() else { return None };
        let mut ledger = Ledger { cycle, boot, ..Ledger::default() };
        for line in lines {
            match line {
                Line::Open { .. } => break,
                Line::Armed(entry) => {
                    ledger.last = ledger.last.max(entry.number);
                    ledger.armed.push(*entry);
                }
                Line::Undone { number, .. } => ledger.armed.retain(|e| e.number != number),
            }
        }
        Some(ledger)
    }
}

/// What recovery does about an entry of a cycle whose keeper is gone (design: the table of `lasts`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// End the client if it still runs; with it the freeze is gone.
    EndClient,
    /// Run the undo, unless the server turns out to be another one.
    Undo,
    /// The server that held it is gone.
    Gone,
}

/// Decides by the entry and whether the machine still runs the boot in which it was written.
pub fn recovery(lasts: Lasts, same_boot: bool) -> Recovery {
    match (lasts, same_boot) {
        (Lasts::Disk, _) | (Lasts::Server | Lasts::Expires, true) => Recovery::Undo,
        (Lasts::Session, true) => Recovery::EndClient,
        (Lasts::Session | Lasts::Server | Lasts::Expires, false) => Recovery::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stillpoint_contract::manifest::{Mode, Rows};

    fn entry(text: &str, lasts: Lasts) -> Entry {
        Entry {
            number: 0,
            workload: "w".into(),
            froze: "f".into(),
            undo: "u".into(),
            text: text.into(),
            session: "s".into(),
            database: None,
            lasts,
            process: ProcessId { pid: 1, started: 1 },
            identity: None,
            again: Again {
                configuration: "/c".into(),
                client: Client {
                    mode: Mode::Session,
                    programs: vec!["p".into()],
                    login: None,
                    arguments: vec![],
                    end: ";".into(),
                    tag: "{tag}".into(),
                    rows: Rows::Quoted,
                    error: String::new(),
                    lost: vec![],
                    identifier_quote: '"',
                },
                identity: None,
                cancel: None,
            },
        }
    }

    #[test]
    fn equal_undos_are_one_and_the_last_comes_first() {
        let (mut ledger, _) = Ledger::open("c", "b");
        assert!(ledger.arm(entry("A", Lasts::Session)).is_some());
        assert!(ledger.arm(entry("B", Lasts::Session)).is_some());
        assert!(ledger.arm(entry("A", Lasts::Session)).is_none());
        assert_eq!(ledger.armed().map(|e| e.text.as_str()).collect::<Vec<_>>(), ["B", "A"]);
        assert_eq!(ledger.disarm("undone", |e| e.text == "A").len(), 1);
        assert_eq!(ledger.armed().count(), 1);
    }

    #[test]
    fn recovery_is_as_the_design_says() {
        assert_eq!(recovery(Lasts::Session, true), Recovery::EndClient);
        assert_eq!(recovery(Lasts::Session, false), Recovery::Gone);
        assert_eq!(recovery(Lasts::Server, true), Recovery::Undo);
        assert_eq!(recovery(Lasts::Server, false), Recovery::Gone);
        assert_eq!(recovery(Lasts::Disk, false), Recovery::Undo);
    }

    proptest! {
        /// Whatever was written, the file tells the same story as the memory did.
        #[test]
        fn replay_gives_what_was_armed(acts in prop::collection::vec((any::<bool>(), 0u8..5), 0..30)) {
            let (mut ledger, first) = Ledger::open("c", "b");
            let mut lines = vec![first];
            for (arm, which) in acts {
                let text = which.to_string();
                if arm {
                    lines.extend(ledger.arm(entry(&text, Lasts::Disk)));
                } else {
                    lines.extend(ledger.disarm("undone", |e| e.text == text));
                }
            }
            let again = Ledger::replay(lines).unwrap();
            prop_assert!(again.armed().eq(ledger.armed()));
        }
    }
}
