//! `freeze`: return while everything stands still.

use super::{Context, Output, agent, internal, recover, screen};
use crate::fault::Exit;
use crate::keeper::control::{Ask, Say, Status};

pub fn freeze(context: &Context) -> Exit {
    let before = recover::cycle_of_ledger(&context.places);
    let mut agent = match agent::start(context, false) {
        Ok(agent) => agent,
        Err(fault) => return screen::faults(context.output, &[fault]),
    };
    let progress = screen::Progress::new(context.output);
    loop {
        let said = agent.hear();
        if !matches!(said, Some(Say::Event(_))) {
            progress.clear();
        }
        match said {
            Some(Say::Frozen(status)) => {
                if say_frozen(context.output, &status) {
                    return Exit::Done;
                }
                // Who was not told will not thaw.
                agent.ask(Ask::Abandon);
                while !matches!(agent.hear(), Some(Say::Record(_)) | None) {}
                return screen::faults(context.output, &[internal("\"frozen\" could not be written; it is thawed")]);
            }
            Some(Say::Record(record)) => {
                if screen::record(context.output, &record) && record.is_written() {
                    let _ = context.places.forget_unclaimed();
                }
                return record.exit;
            }
            Some(Say::Refused(faults)) => return screen::faults(context.output, &faults),
            Some(Say::Event(event)) => progress.show(&event),
            Some(Say::Status(_)) => {}
            None => return recover::lost_keeper(context, &before, None),
        }
    }
}

fn say_frozen(output: Output, status: &Status) -> bool {
    match output {
        Output::Json => screen::say(serde_json::json!({ "frozen": status })),
        Output::Text => {
            for fault in &status.failed {
                screen::say_beside(format_args!("✘ {fault}"));
            }
            let left = screen::time(status.left_ms.unwrap_or(0) * 1000);
            screen::say(format_args!(
                "frozen: {} · cycle {} · thaws by itself in {left}",
                status.frozen.join(", "),
                status.cycle
            ))
        }
    }
}
