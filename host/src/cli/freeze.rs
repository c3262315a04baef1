//! `freeze`: return while everything stands still.

use super::{Context, agent, internal, screen};
use crate::fault::Exit;
use crate::keeper::control::Say;

pub fn freeze(context: &Context) -> Exit {
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
                match context.output {
                    super::Output::Json => println!("{}", serde_json::json!({ "frozen": status })),
                    super::Output::Text => {
                        println!(
                            "frozen: {} · cycle {} · thaws by itself in {}",
                            status.frozen.join(", "),
                            status.cycle,
                            screen::time(status.left_ms.unwrap_or(0) * 1000)
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
            Some(Say::Event(event)) => progress.show(&event),
            Some(Say::Status(_)) => {}
            None => return screen::faults(context.output, &[internal("the keeper is gone: run  stillpoint recover")]),
        }
    }
}
