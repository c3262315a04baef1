//! `recover`: take back what a cycle that was killed left frozen.

use std::time::Duration;

use super::{Context, agent, internal, runtime, screen};
use crate::crash;
use crate::fault::{Exit, Fault};
use crate::keeper::ENDING;
use crate::keeper::places::Places;
use crate::ledger::{Ledger, file};
use crate::recover;
use crate::sys::disk;

/// A little longer than a guard goes on trying.
const GUARD: Duration = Duration::from_secs(75);

/// The keeper died under a command that waited for it: the guard takes back what it held, and what that one could not is
/// taken back here. `before` is the cycle whose ledger was there when the keeper was started.
pub fn lost_keeper(context: &Context, before: &str, command: Option<String>) -> Exit {
    recover_after(context, Some(before), Duration::ZERO, command)
}

pub fn recover(context: &Context, patience: Duration) -> Exit {
    recover_after(context, None, patience, None)
}

fn recover_after(context: &Context, before: Option<&str>, patience: Duration, command: Option<String>) -> Exit {
    let keeper_lost = before.is_some();
    let places = &context.places;
    crash::under(&places.run);
    if let Err(e) = places.make() {
        return screen::faults(context.output, &[internal(&e.to_string())]);
    }
    let lock = disk::lock_within(&places.lock(), if keeper_lost { GUARD } else { ENDING });
    let _lock = match lock {
        Ok(Some(lock)) => lock,
        Ok(None) if keeper_lost => return screen::faults(context.output, &[not_done_yet()]),
        Ok(None) => {
            let fault = match agent::find(context) {
                Some(_) => Fault::new("SP-CYCLE-007", Exit::Busy, "another cycle is under way.")
                    .next("see  stillpoint status ;  stillpoint thaw  ends it"),
                None => Fault::new("SP-CYCLE-007", Exit::Busy, "a cycle begins or ends, or its guard thaws it.")
                    .next("ask again in a moment"),
            };
            return screen::faults(context.output, &[fault]);
        }
        Err(e) => return screen::faults(context.output, &[internal(&e.to_string())]),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(fault) => return screen::faults(context.output, &[fault]),
    };
    let ledger = ledger(places);
    let cycle = Some(ledger.cycle()).filter(|cycle| before != Some(cycle));
    // What the guard of this cycle took back, or the keeper before it was lost.
    let by_others: Vec<String> = match cycle.filter(|_| keeper_lost) {
        Some(_) => ledger.undone().map(|(entry, how)| format!("{} {how}", entry.words())).collect(),
        None => Vec::new(),
    };
    match runtime.block_on(recover::recover(places, patience)) {
        Err(faults) => screen::faults(context.output, &faults),
        Ok(recover::Recovered { done, warnings }) => {
            if done.is_empty() && !keeper_lost {
                match context.output {
                    super::Output::Json => screen::say(serde_json::json!({ "exit": Exit::Done, "taken_back": [] })),
                    super::Output::Text => screen::say("nothing was frozen"),
                };
                return Exit::Done;
            }
            let done: Vec<String> = by_others.into_iter().chain(done).collect();
            let fault = recover::lost_keeper(cycle, &done);
            match context.output {
                super::Output::Json => {
                    let answer = serde_json::json!({
                        "cycle": cycle, "exit": fault.exit, "taken_back": done, "command": command, "faults": [fault],
                        "warnings": warnings,
                    });
                    screen::say(answer);
                }
                super::Output::Text => {
                    screen::say_beside(format_args!("✘ {fault}"));
                    for warning in &warnings {
                        screen::say_beside(format_args!("! {warning}"));
                    }
                    if let Some(command) = command {
                        screen::say_beside(format_args!("  the command: {command}"));
                    }
                }
            }
            Exit::Inconsistent
        }
    }
}

/// The ledger that is there, or an empty one.
fn ledger(places: &Places) -> Ledger {
    file::read(&places.ledger()).ok().flatten().unwrap_or_default()
}

/// The cycle whose ledger is there; empty where there is none.
pub fn cycle_of_ledger(places: &Places) -> String {
    ledger(places).cycle().to_owned()
}

/// Waits until nobody holds the lock any more.
///
/// # Errors
/// `SP-GUARD-003`: the guard of a keeper that was lost still does.
pub fn wait_for_the_guard(places: &Places, longest: Duration) -> Result<(), Fault> {
    match disk::lock_within(&places.lock(), longest) {
        Ok(None) => Err(not_done_yet()),
        // What cannot be locked shows in what comes next.
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

fn not_done_yet() -> Fault {
    Fault::new("SP-GUARD-003", Exit::NotThawed, "the keeper was lost, and its guard is not done yet.")
        .done("SOMETHING MAY STILL STAND STILL.")
        .next(
            "let the filesystem of the state directory go on, if it is frozen; wait a minute, then  stillpoint recover",
        )
}
