//! `recover`: take back what a cycle that was killed left frozen.

use super::{Context, internal, runtime, screen};
use crate::fault::{Exit, Fault};
use crate::keeper;
use crate::sys::disk;

pub fn recover(context: &Context) -> Exit {
    let places = &context.places;
    if let Err(e) = places.make() {
        return screen::faults(context.output, &[internal(&e.to_string())]);
    }
    let _lock = match disk::lock(&places.lock()) {
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
            let lost = !done.is_empty();
            match context.output {
                super::Output::Json => println!("{}", serde_json::json!({ "taken_back": done })),
                super::Output::Text if lost => {
                    println!("the cycle had lost its keeper; taken back:");
                    done.iter().for_each(|d| println!("  {d}"));
                    println!("a snapshot of that cycle is not application-consistent");
                }
                super::Output::Text => println!("nothing was frozen"),
            }
            if lost { Exit::Inconsistent } else { Exit::Done }
        }
    }
}
