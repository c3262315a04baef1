//! The way back. First the proof, then the module's graceful thaw, then whatever is still armed: by the host alone.

use std::time::Duration;

use stillpoint_contract::manifest::Lasts;
use stillpoint_contract::message::{Phase, StatementError, only};
use tokio::time::Instant;

use super::Release;
use super::record::microseconds;
use super::run::Run;
use crate::broker::SessionKey;
use crate::client::session::Session;
use crate::crash::{self, Step};
use crate::fault::{Exit, Fault};
use crate::ledger::Statement;

/// How long the module's own thaw, one undo of ours, and the end of a session may take.
const GRACEFUL: Duration = Duration::from_secs(2);
const UNDO: Duration = Duration::from_secs(2);
const PROOF: Duration = Duration::from_secs(1);

/// How long a statement that is still under way is waited for, where the end of its session ends it, too.
const SETTLE: Duration = Duration::from_millis(250);

impl Run {
    pub(super) async fn thaw(&mut self, why: &Release) {
        let began = Instant::now();
        // One that failed was taken back at once, and stood no longer than to there.
        let taken_back = self.thawed_at.filter(|_| !self.is_armed());
        // What the host sends itself belongs to it, too.
        self.broker.enter(Phase::Thaw, began);
        if let Some(frozen) = self.frozen_at {
            self.phases.held_us = microseconds(began.saturating_duration_since(frozen));
        }
        if self.stands {
            match why {
                Release::Asked | Release::CommandFailed => {
                    if self.reason.is_none()
                        && let Err(what) = self.broker.prove(began + PROOF).await
                    {
                        self.reason = Some(what);
                    }
                    crash::step(Step::HeldProved);
                }
                other => {
                    self.reason =
                        Some(format!("it was thawed by {other}, before the agent said that the snapshot is cut"))
                }
            }
        }
        // When time is up nothing is asked of the module any more.
        if *why == Release::Expired {
            self.replay().await;
        } else {
            self.take_back().await;
        }
        self.thawed_at = taken_back.or_else(|| Some(Instant::now()));
        self.name_who_blocks();
        // After the undo, for it touches a disk.
        if self.stands
            && self.reason.is_none()
            && let Err(what) = self.broker.prove_files(Instant::now() + PROOF).await
        {
            self.reason = Some(what);
        }
        self.stands = false;
        self.phases.thaw_us = microseconds(began.elapsed());
    }

    /// By the module, where it can be asked; then what is still armed, by the host alone.
    pub(super) async fn take_back(&mut self) {
        let armed = self.is_armed();
        let callable = self.engine.as_ref().is_some_and(|e| !e.is_lost());
        let longest = Duration::from_secs(u64::from(self.broker.manifest.limits.thaw_seconds)).max(GRACEFUL);
        if armed
            && callable
            // A client that hangs would hang the module, too.
            && !self.broker.is_waiting()
            && let Err(fault) = self.call(Phase::Thaw, Instant::now() + longest).await
            // After a freeze that failed, the first fault is the story: a module may find nothing to take back.
            && self.stood
        {
            self.faults.push(fault.done("The host took back what it left frozen."));
        }
        self.replay().await;
        self.thawed_at = Some(Instant::now());
    }

    fn is_armed(&self) -> bool {
        !self.broker.book.armed(&self.broker.workload.name).is_empty()
    }

    /// Takes back what is armed, the last first.
    async fn replay(&mut self) {
        let name = self.name();
        for entry in self.broker.book.armed(&name) {
            let Some(undo) = entry.statement() else { continue };
            let key = (undo.session.clone(), undo.database.clone());
            // What was never answered may still take effect: that it is not there yet is no undo.
            let certain = entry.lasts != Lasts::Disk || self.broker.end_unanswered(&entry.froze, &key, UNDO).await;
            let deadline = Instant::now() + UNDO;
            let failed = crash::may_fail(Step::Undoing).map_err(|e| StatementError::Lost(e.to_string()));
            let settled = match failed {
                Ok(()) if entry.lasts == Lasts::Session => self.broker.settle(&key, Instant::now() + SETTLE).await,
                other => other,
            };
            let undone = match settled {
                Err(e) => Err(e),
                Ok(()) => self.broker.send_undo(&key, undo, deadline).await,
            };
            crash::step(Step::Undone);
            match undone {
                Ok(()) => self.broker.taken_back("by the host", &key, &undo.text),
                Err(_) if entry.lasts == Lasts::Session => {
                    // What it held ends with the session, whatever the statement said.
                    if self.broker.end_session(&key, UNDO).await {
                        self.broker.taken_back("with its session", &key, &undo.text);
                    } else {
                        self.not_thawed(&undo.name, "its session could not be ended");
                    }
                }
                Err(e) if certain && undo.finds_nothing(&e) => {
                    self.broker.taken_back("found undone", &key, &undo.text);
                }
                // An undo that finds nothing to undo is done.
                Err(_) if certain && self.is_undone(&key, undo).await => {
                    // The server is at it, and would not come to the end of it for a client that is gone.
                    if self.broker.sessions.get(&key).is_some_and(Session::is_busy) {
                        self.at_it.push(key.clone());
                    }
                    self.broker.taken_back("found undone", &key, &undo.text);
                }
                Err(e) => self.not_thawed(&undo.name, &e.to_string()),
            }
        }
    }

    /// Whether what was set is no longer so, where that can be asked.
    async fn is_undone(&mut self, key: &SessionKey, undo: &Statement) -> bool {
        let Some(set) = &undo.set else { return false };
        let rows = self.broker.ask_again(key, &undo.name, set, Instant::now() + UNDO).await.unwrap_or_default();
        only(&rows).is_some_and(|now| now != set.answer)
    }

    fn not_thawed(&mut self, undo: &str, why: &str) {
        let fault = Fault::new("SP-CYCLE-006", Exit::NotThawed, format!("{undo} failed: {why}."))
            .of(self.name())
            .done("SOMETHING MAY STILL STAND STILL.")
            .next("run  stillpoint recover");
        self.faults.push(fault);
    }
}
