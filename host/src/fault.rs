//! What went wrong, in the four parts that a person needs: what happened, to which workload, what was done about it,
//! what to do next. And the exit codes.

use std::fmt;

use serde::{Deserialize, Serialize};
use stillpoint_contract::manifest::is_hidden;

use crate::azure;

/// How the command ends. The numbers are a promise to backup agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Exit {
    /// Done, and consistent.
    Done = 0,
    /// A fault of ours.
    Internal = 1,
    /// Configuration or usage.
    Usage = 2,
    /// A module is not trusted or not granted; a record is not what was written.
    Untrusted = 3,
    /// The freeze failed; everything is thawed.
    NotFrozen = 4,
    /// Thawed, but the snapshot is not application-consistent.
    Inconsistent = 5,
    /// A thaw failed: something may still stand still.
    NotThawed = 6,
    /// Another cycle is under way.
    Busy = 7,
    /// `run`: the command itself failed; everything is thawed.
    CommandFailed = 8,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Stable: `SP-CFG-003`.
    pub id: String,
    /// The number of Azure's that corresponds, where one does: [`crate::azure`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub azure: Option<u16>,
    /// How the command ends because of it.
    pub exit: Exit,
    /// The workload's name in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// What happened.
    pub what: String,
    /// The place in a file, with a caret under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// What was done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Fault {
    /// A fault with its stable id and what happened.
    pub fn new(id: &str, exit: Exit, what: impl Into<String>) -> Fault {
        let azure = azure::number(id);
        Fault { id: id.into(), azure, exit, workload: None, what: what.into(), excerpt: None, done: None, next: None }
    }

    /// Another number of Azure's than the id alone stands for.
    #[must_use]
    pub fn azure(mut self, number: u16) -> Fault {
        self.azure = Some(number);
        self
    }

    /// To which workload.
    #[must_use]
    pub fn of(mut self, workload: impl Into<String>) -> Fault {
        self.workload = Some(workload.into());
        self
    }

    /// Where in a file.
    #[must_use]
    pub fn at(mut self, excerpt: impl Into<String>) -> Fault {
        self.excerpt = Some(excerpt.into());
        self
    }

    /// What was done about it.
    #[must_use]
    pub fn done(mut self, done: impl Into<String>) -> Fault {
        self.done = Some(done.into());
        self
    }

    /// What to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Fault {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(workload) = &self.workload {
            write!(f, "{}: ", plain(workload))?;
        }
        write!(f, "{}", plain(&self.what))?;
        if let Some(done) = &self.done {
            write!(f, " {}", plain_lines(done))?;
        }
        write!(f, "   {}", self.id)?;
        if let Some(number) = self.azure {
            write!(f, " (Azure: {number})")?;
        }
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{}", plain_lines(excerpt))?;
        }
        if let Some(next) = &self.next {
            write!(f, "\n→ {}", plain_lines(next))?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// Text of a database's or a module's, as it may be put on a terminal: nothing in it moves the cursor, begins a line of
/// its own, or turns what stands beside it round.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// Text of ours that repeats theirs, such as a line of a file with a caret under it.
pub fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_cannot_draw_on_the_screen() {
        let said =
            Fault::new("SP-X-001", Exit::Internal, "no such table: \u{1b}[2J\n✔ application-consistent").to_string();
        assert!(!said.contains(['\u{1b}', '\n']), "{said:?}");
        let fault = Fault::new("SP-X-001", Exit::Internal, "").at("  --> \u{1b}[2J").done("\u{202e}").next("\u{9b}2J");
        assert!(!fault.to_string().contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{fault:?}");
    }
}
