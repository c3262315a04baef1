//! `status`: what stands still.

use super::{Context, agent, internal, screen};
use crate::fault::{Exit, Fault};
use crate::keeper::control::{Ask, Say};
use crate::ledger::file;

pub fn status(context: &Context) -> Exit {
    if let Some(mut agent) = agent::find(context) {
        agent.ask(Ask::Status);
        if let Some(Say::Status(status)) = agent.hear() {
            match context.output {
                super::Output::Json => println!("{}", serde_json::json!({ "under_way": status })),
                super::Output::Text if status.frozen.is_empty() => println!("cycle {} is freezing", status.cycle),
                super::Output::Text => println!(
                    "frozen: {} · cycle {} · thaws by itself in {:.1} s",
                    status.frozen.join(", "),
                    status.cycle,
                    f64::from(u32::try_from(status.left_ms.unwrap_or(0)).unwrap_or(u32::MAX)) / 1000.0
                ),
            }
            return Exit::Done;
        }
    }
    let ledger = match file::read(&context.places.ledger()) {
        Ok(ledger) => ledger.unwrap_or_default(),
        Err(e) => return screen::faults(context.output, &[internal(&format!("the ledger cannot be read: {e}"))]),
    };
    let left: Vec<String> = ledger.armed().map(|e| format!("{}: {}", e.workload, e.froze)).collect();
    if left.is_empty() {
        match context.output {
            super::Output::Json => println!("{}", serde_json::json!({ "under_way": null })),
            super::Output::Text => println!("nothing is frozen"),
        }
        return Exit::Done;
    }
    let what = format!("cycle {} lost its keeper; still in its ledger: {}.", ledger.cycle(), left.join(", "));
    let fault = Fault::new("SP-CYCLE-009", Exit::NotThawed, what).next("run  stillpoint recover");
    screen::faults(context.output, &[fault])
}
