//! `freeze`: return while everything stands still.

use super::{Context, agent, internal, screen};
use crate::fault::Exit;
use crate::keeper::control::Say;

pub fn freeze(context: &Context) -> Exit {
    let mut agent = match agent::start(context, false) {
        Ok(agent) => agent,
        Err(fault) => return screen::faults(context.output, &[fault]),
    };
    loop {
        match agent.hear() {
            Some(Say::Frozen(status)) => {
                match context.output {
                    super::Output::Json => println!("{}", serde_json::json!({ "frozen": status })),
                    super::Output::Text => {
                        let left = status.left_ms.unwrap_or(0) / 1000;
                        println!(
                            "frozen: {} · cycle {} · thaws by itself in {left} s",
                            status.frozen.join(", "),
                            status.cycle
                        );
                    }
                }
                return Exit::Done;
            }
            Some(Say::Record(record)) => {
                screen::record(context.output, &record);
                return record.exit;
            }
            Some(Say::Refused(faults)) => return screen::faults(context.output, &faults),
            Some(Say::Event(event)) => screen::progress(context.output, &event),
            Some(Say::Status(_)) => {}
            None => return screen::faults(context.output, &[internal("the keeper is gone: run  stillpoint recover")]),
        }
    }
}
