//! What a cycle did, and what may be believed about the snapshot.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stillpoint_contract::manifest::{Recovery, Snapshot};

use crate::broker::Kept;
use crate::config::Role;
use crate::fault::{Exit, Fault};

/// What may be believed about the snapshot. The worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything promised was in place before the snapshot began, and was asked for again after it ended.
    ApplicationConsistent,
    /// As after a loss of power.
    CrashConsistent,
    /// The database was not frozen at all.
    Failed,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verdict::ApplicationConsistent => "application-consistent",
            Verdict::CrashConsistent => "crash-consistent",
            Verdict::Failed => "failed",
        })
    }
}

/// In which way a snapshot is application-consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Writes had stopped.
    Still,
    /// The database kept writing, and its own recovery makes it whole.
    Recoverable,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Still => "still",
            Kind::Recoverable => "recoverable",
        })
    }
}

/// The warning that a record carries which could not be written before it was told.
pub const NOT_WRITTEN: &str = "SP-CYCLE-015";

/// How long each phase took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// Would it work?
    pub check_us: u64,
    /// The slow work.
    pub prepare_us: u64,
    /// Until it stood still.
    pub freeze_us: u64,
    /// Until the thaw began.
    pub held_us: u64,
    /// Until it ran again.
    pub thaw_us: u64,
}

/// One coordinate of a recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Such as `gtid`.
    pub name: String,
    /// Such as `0-1-48213`.
    pub value: String,
}

/// What became of one workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRecord {
    /// Its name in the configuration.
    pub name: String,
    /// Its module.
    pub module: String,
    /// The module's version.
    pub version: String,
    /// The database's version.
    #[serde(default)]
    pub database: String,
    /// What the server said it is, where its module can ask.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<Role>,
    /// What may be believed.
    pub verdict: Verdict,
    /// In which way, when it is application-consistent.
    pub kind: Option<Kind>,
    /// Why it is not.
    pub reason: Option<String>,
    /// The number of Azure's for that, where it stood still and not to the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub azure: Option<u16>,
    /// Whether each acknowledged commit was on disk without our syncing.
    pub durable: bool,
    /// That its module was never tried on a real server, and on what it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub untried: Option<String>,
    /// Where its data lies.
    #[serde(default)]
    pub data: Vec<String>,
    /// What is known only since the thaw, and is in no snapshot.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub kept: Vec<Kept>,
    /// How it becomes a running database again, as the module says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recovery: Option<Recovery>,
    /// The folder that its logs are copied to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log_folder: Option<String>,
    /// Where recovery would begin.
    pub point: Vec<Point>,
    /// How long it took.
    pub phases: Phases,
    /// From its first statement that stops writes to its last undo, in microseconds.
    pub standstill_us: Option<u64>,
    /// What check found.
    pub findings: Vec<Finding>,
    /// What the module logged.
    pub log: Vec<String>,
    /// What went wrong.
    pub faults: Vec<Fault>,
}

/// One thing that check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `note`, `warning` or `problem`.
    pub level: String,
    /// For people.
    pub text: String,
}

/// What a cycle did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub cycle: String,
    /// How the command ends because of it.
    pub exit: Exit,
    /// What the agent was to do.
    #[serde(default)]
    pub snapshot: Option<Snapshot>,
    /// The worst of all workloads.
    pub verdict: Verdict,
    /// The weakest of all workloads.
    pub kind: Option<Kind>,
    /// When it began.
    pub began_at: String,
    /// When everything stood still.
    pub frozen_at: Option<String>,
    /// When the thaw began.
    pub released_at: Option<String>,
    /// When everything ran again.
    pub thawed_at: Option<String>,
    /// Why the thaw began.
    pub released_by: Option<String>,
    /// From the first statement that stops writes to the last undo of a workload whose writes were stopped, in microseconds.
    pub standstill_us: Option<u64>,
    /// From the first freezing statement of any kind to the last undo acknowledged, in microseconds.
    pub frozen_us: Option<u64>,
    /// From the first workload that stood still to the last, in microseconds. `None` for fewer than two.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub skew_us: Option<u64>,
    /// The most that `timeout` allows, in seconds.
    pub timeout_s: u64,
    /// Each workload.
    pub workloads: Vec<WorkloadRecord>,
    /// What would be better otherwise in the configuration.
    #[serde(default)]
    pub warnings: Vec<Fault>,
    /// What went wrong with the cycle itself.
    pub faults: Vec<Fault>,
    /// The head of the audit record: with it, whoever holds it can tell later whether that was changed. `None` where it is
    /// not written.
    #[serde(default)]
    pub head: Option<String>,
    /// For `run`: how the command ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
}

impl Record {
    /// Whether it was written before it was told.
    pub fn is_written(&self) -> bool {
        self.warnings.iter().all(|w| w.id != NOT_WRITTEN)
    }
}

impl Record {
    /// Of a cycle whose keeper is gone, by who took back what it held: the `guard`, or `recovery`. It has begun now, until
    /// somebody knows better.
    pub fn of_a_lost_keeper(cycle: &str, by: &str, was_armed: bool, faults: Vec<Fault>) -> Record {
        let now = jiff::Timestamp::now().to_string();
        Record {
            cycle: cycle.into(),
            exit: faults.iter().map(|f| f.exit).max().unwrap_or(Exit::Inconsistent),
            snapshot: None,
            verdict: if was_armed { Verdict::CrashConsistent } else { Verdict::Failed },
            kind: None,
            began_at: now.clone(),
            frozen_at: None,
            released_at: Some(now.clone()),
            thawed_at: Some(now),
            released_by: Some(by.into()),
            standstill_us: None,
            frozen_us: None,
            skew_us: None,
            timeout_s: 0,
            workloads: Vec::new(),
            warnings: Vec::new(),
            faults,
            head: None,
            command: None,
        }
    }
}

/// Whole microseconds.
pub fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
