//! `check`: say what a freeze would meet; change nothing.

use std::rc::Rc;

use super::{Context, agent, internal, runtime, screen, status};
use crate::compiled::Store;
use crate::cycle::Cycle;
use crate::cycle::book::Book;
use crate::cycle::record::WorkloadRecord;
use crate::events::Events;
use crate::fault::{Exit, Fault, plain};
use crate::keeper;

pub fn check(context: &Context) -> Exit {
    match run(context) {
        Ok(exit) => exit,
        Err(faults) => screen::faults(context.output, &faults),
    }
}

fn run(context: &Context) -> Result<Exit, Vec<Fault>> {
    let one = |f: Fault| vec![f];
    let keeper::Loaded { configuration, modules, .. } =
        keeper::load(&context.places, context.config.as_deref(), context.unsigned)?;
    let mut warnings = configuration.warnings.clone();
    if agent::find(context).is_some() {
        let what = "a cycle is under way: a freeze now is refused.";
        warnings.push(Fault::new("SP-CYCLE-007", Exit::Busy, what).next("see  stillpoint status"));
    } else {
        warnings.extend(status::left_behind(context));
    }
    let id = keeper::cycle_id().map_err(|e| one(internal(&e.to_string())))?;
    // Check arms nothing: its ledger is nowhere.
    let book = Book::nowhere(&id).map_err(|e| one(internal(&e.to_string())))?;
    let (store, book) = (Store::new(context.places.compiled()), Rc::new(book));
    let mut cycle = Cycle::new(id.clone(), configuration, modules, &store, book, Events::new(&id)).map_err(one)?;
    cycle.open_filesystems(&context.places.ours()).map_err(one)?;
    let runtime = runtime().map_err(one)?;
    let passed = tokio::task::LocalSet::new().block_on(&runtime, async {
        let passed = cycle.check().await;
        cycle.close().await;
        passed
    });
    let record = cycle.record();
    let missing = cycle.missing_walls();
    match context.output {
        super::Output::Json => {
            screen::say(serde_json::json!({
                "passed": passed, "warnings": warnings, "missing_walls": missing,
                "workloads": record.workloads.iter().map(without_what_a_cycle_gives).collect::<Vec<_>>(),
            }));
        }
        super::Output::Text => {
            for warning in &warnings {
                screen::say(screen::indented(&format!("! {warning}")).trim_end_matches('\n'));
            }
            for wall in &missing {
                screen::say(format_args!("  ! {wall}"));
            }
            for w in &record.workloads {
                screen::say(format_args!(
                    "{} {} {}{} · module {} {}",
                    if w.faults.is_empty() { "✔" } else { "✘" },
                    w.name,
                    plain(&w.database),
                    screen::replica(w),
                    w.module,
                    w.version
                ));
                for finding in &w.findings {
                    screen::say(format_args!("    {}: {}", finding.level, plain(&finding.text)));
                }
                for fault in &w.faults {
                    screen::say(format_args!("    {fault}"));
                }
            }
        }
    }
    Ok(if passed { Exit::Done } else { Exit::NotFrozen })
}

/// No verdict, no point: nothing was to be frozen.
fn without_what_a_cycle_gives(workload: &WorkloadRecord) -> serde_json::Value {
    let mut all = serde_json::to_value(workload).unwrap_or_default();
    if let Some(keys) = all.as_object_mut() {
        keys.retain(|key, _| {
            let of_a_cycle =
                ["verdict", "kind", "reason", "azure", "kept", "recovery", "point", "phases", "standstill_us"];
            !of_a_cycle.contains(&key.as_str())
        });
    }
    all
}
