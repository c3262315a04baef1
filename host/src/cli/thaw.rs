//! `thaw`: the snapshot is cut.

use std::time::Duration;

use super::{Context, agent, recover, screen};
use crate::cycle::record::Record;
use crate::fault::{Exit, Fault};
use crate::keeper::control::{Ask, Say};
use crate::ledger::file;

/// Longer than any thaw takes, with every client hanging.
const LONGEST: Duration = Duration::from_secs(120);

/// How long a guard is waited for. It may wait for our own disk, and the agent may let that go on only afterwards.
const GUARD: Duration = Duration::from_secs(10);

pub fn thaw(context: &Context) -> Exit {
    if let Some(mut agent) = agent::find(context) {
        match agent.answer(Ask::Thaw, LONGEST) {
            Ok(Some(Say::Record(record))) => return tell(context, &record),
            Ok(_) => {}
            Err(fault) => return screen::faults(context.output, &[fault]),
        }
    }
    // No keeper. It died: then its guard is at it, or its ledger says what to take back.
    if is_armed(context) {
        if let Err(fault) = recover::wait_for_the_guard(&context.places, GUARD) {
            return screen::faults(context.output, &[fault]);
        }
        if is_armed(context) {
            let exit = recover::recover(context, Duration::ZERO);
            let _ = context.places.forget_unclaimed();
            return exit;
        }
    }
    // Or it ended by itself and left its verdict; or there was none.
    match unclaimed(context) {
        Some(record) => tell(context, &record),
        None => {
            let fault = Fault::new("SP-CYCLE-003", Exit::Inconsistent, "there is no cycle to thaw.")
                .done("Nothing is frozen, and nothing vouches for a snapshot.")
                .next("stillpoint freeze  comes before the snapshot");
            screen::faults(context.output, &[fault])
        }
    }
}

/// Also when nobody knows.
fn is_armed(context: &Context) -> bool {
    !file::read(&context.places.ledger()).is_ok_and(|l| l.is_none_or(|l| l.armed().next().is_none()))
}

/// The verdict is told once. Where our own disk stands still the keeper notes that: who thaws must not wait for it.
fn tell(context: &Context, record: &Record) -> Exit {
    if screen::record(context.output, record) && record.is_written() {
        let _ = context.places.forget_unclaimed();
    }
    record.exit
}

fn unclaimed(context: &Context) -> Option<Record> {
    let cycle = std::fs::read_to_string(context.places.unclaimed()).ok()?;
    serde_json::from_slice(&std::fs::read(context.places.record(cycle.trim())).ok()?).ok()
}
