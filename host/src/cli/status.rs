//! `status`: what stands still.

use std::time::Duration;

use super::{Context, agent, screen};
use crate::fault::{Exit, Fault};
use crate::keeper::control::{Ask, Say, Status};
use crate::ledger::file;
use crate::recover::unreadable;

pub fn status(context: &Context) -> Exit {
    if let Some(mut agent) = agent::find(context) {
        match agent.answer(Ask::Status, Duration::from_secs(5)) {
            Ok(Some(Say::Status(status))) => {
                match context.output {
                    super::Output::Json => screen::say(serde_json::json!({ "under_way": status })),
                    super::Output::Text => screen::say(words(&status)),
                };
                return Exit::Done;
            }
            Ok(_) => {}
            Err(fault) => return screen::faults(context.output, &[fault]),
        }
    }
    match left_behind(context) {
        Some(fault) => screen::faults(context.output, &[fault]),
        None => {
            match context.output {
                super::Output::Json => screen::say(serde_json::json!({ "under_way": null })),
                super::Output::Text => screen::say("nothing is frozen"),
            };
            Exit::Done
        }
    }
}

/// What the ledger of a cycle that lost its keeper still holds.
pub fn left_behind(context: &Context) -> Option<Fault> {
    let ledger = match file::read(&context.places.ledger()) {
        Ok(ledger) => ledger.unwrap_or_default(),
        Err(e) => return Some(unreadable(&context.places, &e)),
    };
    let left: Vec<String> = ledger.armed().map(crate::ledger::Entry::words).collect();
    if left.is_empty() {
        return None;
    }
    let what = format!("cycle {} lost its keeper, and this may still be so: {}.", ledger.cycle(), left.join(", "));
    Some(Fault::new("SP-CYCLE-009", Exit::NotThawed, what).next("run  stillpoint recover"))
}

fn words(status: &Status) -> String {
    if status.frozen.is_empty() {
        return format!("cycle {} is under way; nothing is frozen", status.cycle);
    }
    let left = screen::time(status.left_ms.unwrap_or(0) * 1000);
    let what = if status.complete { "frozen" } else { "freezing, not yet to be snapshotted" };
    let missing: Vec<&str> = status.failed.iter().filter_map(|f| f.workload.as_deref()).collect();
    let without = if missing.is_empty() { String::new() } else { format!(" · without {}", missing.join(", ")) };
    format!("{what}: {}{without} · cycle {} · thaws by itself in {left}", status.frozen.join(", "), status.cycle)
}
