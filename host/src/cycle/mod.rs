//! One cycle: check, prepare, freeze, hold, thaw, verdict.
//!
//! The order within a phase, what may fail, and what is taken back are decided here; the module only does its part.

pub mod book;
mod data;
pub mod engine;
pub mod point;
pub mod record;
mod run;
mod thaw;

use std::rc::Rc;

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::config::{Configuration, OnFailure};
use crate::events::Events;
use crate::fault::{Exit, Fault};
use crate::trust::Verified;
use book::Book;
use record::{Record, Verdict, WorkloadRecord, microseconds};
use run::Run;

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
