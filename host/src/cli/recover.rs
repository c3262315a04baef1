//! `recover`: take back what a cycle that was killed left frozen.

use super::{Context, internal, runtime, screen};
use crate::fault::{Exit, Fault};
use crate::keeper;
use crate::keeper::places::Places;
use crate::sys::disk;

/// The keeper died under a command that waited for it: its clients died with it, and what it held is taken back.
pub fn lost_keeper(context: &Context, command: Option<String>) -> Exit {
    recover_after(context, true, command)
}

pub fn recover(context: &Context) -> Exit {
    recover_after(context, false, None)
}

fn recover_after(context: &Context, keeper_lost: bool, command: Option<String>) -> Exit {
    let places = &context.places;
    if let Err(e) = places.make() {
        return screen::faults(context.output, &[internal(&e.to_string())]);
    }
    let lock = if keeper_lost { lock_soon(places) } else { disk::lock(&places.lock()) };
    let _lock = match lock {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            let fault =
                Fault::new("SP-CYCLE-007", Exit::Busy, "another cycle is under way.").next("see  stillpoint status");
            return screen::faults(context.output, &[fault]);
        }
        Err(e) => return screen::faults(context.output, &[internal(&e.to_string())]),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(fault) => return screen::faults(context.output, &[fault]),
    };
    match runtime.block_on(keeper::recover::recover(places)) {
        Err(faults) => screen::faults(context.output, &faults),
        Ok(done) => {
            if done.is_empty() && !keeper_lost {
                match context.output {
                    super::Output::Json => screen::say(serde_json::json!({ "exit": Exit::Done, "taken_back": [] })),
                    super::Output::Text => screen::say("nothing was frozen"),
                };
                return Exit::Done;
            }
            let what = if done.is_empty() {
                "the cycle lost its keeper before anything was frozen.".to_owned()
            } else {
                format!("the cycle lost its keeper; taken back: {}.", done.join(", "))
            };
            let fault = Fault::new("SP-CYCLE-011", Exit::Inconsistent, what)
                .done("Nothing stands still.")
                .next("a snapshot of that cycle is not application-consistent: take another");
            match context.output {
                super::Output::Json => {
                    let answer = serde_json::json!({
                        "exit": fault.exit, "taken_back": done, "command": command, "faults": [fault],
                    });
                    screen::say(answer);
                }
                super::Output::Text => {
                    screen::say_beside(format_args!("✘ {fault}"));
                    if let Some(command) = command {
                        screen::say_beside(format_args!("  the command: {command}"));
                    }
                }
            }
            Exit::Inconsistent
        }
    }
}

/// A keeper that was just killed holds its lock until the system has let go of it.
fn lock_soon(places: &Places) -> std::io::Result<Option<std::fs::File>> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        match disk::lock(&places.lock()) {
            Ok(None) if std::time::Instant::now() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            other => return other,
        }
    }
}
