//! `thaw`: the snapshot is cut.

use super::{Context, agent, recover, screen};
use crate::cycle::record::Record;
use crate::fault::Exit;
use crate::keeper::control::{Ask, Say};

pub fn thaw(context: &Context) -> Exit {
    if let Some(mut agent) = agent::find(context) {
        agent.ask(Ask::Thaw);
        while let Some(said) = agent.hear() {
            if let Say::Record(record) = said {
                screen::record(context.output, &record);
                return record.exit;
            }
        }
    }
    // No keeper: either it ended by itself and left its verdict, or it died, or nothing was frozen.
    if let Some(record) = unclaimed(context) {
        screen::record(context.output, &record);
        return record.exit;
    }
    recover::recover(context)
}

fn unclaimed(context: &Context) -> Option<Record> {
    let path = context.places.unclaimed();
    let cycle = std::fs::read_to_string(&path).ok()?;
    let record = std::fs::read(context.places.records().join(format!("{}.json", cycle.trim()))).ok()?;
    let record = serde_json::from_slice(&record).ok()?;
    let _ = std::fs::remove_file(path);
    Some(record)
}
