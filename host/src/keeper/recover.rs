//! Taking back what a keeper that is gone left frozen: from the ledger alone.

use std::time::Duration;

use stillpoint_contract::message::StatementError;
use tokio::time::Instant;

use super::places::Places;
use crate::client::session::{self, Most};
use crate::config;
use crate::fault::{Exit, Fault};
use crate::ledger::file::{self, LedgerFile};
use crate::ledger::{Entry, Recovery, recovery};
use crate::sys::process;

/// How long ending a client, or one undo, may take.
const LONGEST: Duration = Duration::from_secs(10);

/// Takes back everything that is still armed. Gives what was done, one line for each. The caller holds the lock.
///
/// # Errors
/// `SP-CYCLE-006` for each entry that could not be taken back, with the words to type.
pub async fn recover(places: &Places) -> Result<Vec<String>, Vec<Fault>> {
    let unreadable = |e: std::io::Error| {
        let what = format!("the ledger {} cannot be read: {e}.", places.ledger().display());
        vec![
            Fault::new("SP-CYCLE-005", Exit::NotThawed, what)
                .done("SOMETHING MAY STILL STAND STILL.")
                .next("look at the file: each line names an undo in its own words"),
        ]
    };
    let Some(mut ledger) = file::read(&places.ledger()).map_err(unreadable)? else { return Ok(Vec::new()) };
    let entries: Vec<Entry> = ledger.armed().cloned().collect();
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let same_boot = process::boot_id().is_ok_and(|b| b == ledger.boot());
    let mut disk = LedgerFile::reopen(&places.ledger()).map_err(unreadable)?;
    let (mut done, mut faults) = (Vec::new(), Vec::new());
    for entry in entries {
        match take_back(&entry, same_boot).await {
            Ok(how) => {
                done.push(format!("{}: {} {how}", entry.workload, entry.froze));
                for line in ledger.disarm(&how, |e| e.number == entry.number) {
                    // A line that cannot be written only means that the same is taken back once more.
                    let _ = disk.append(&line, false);
                }
            }
            Err(why) => faults.push(
                Fault::new("SP-CYCLE-006", Exit::NotThawed, format!("{} could not be taken back: {why}.", entry.froze))
                    .of(&entry.workload)
                    .done("SOMETHING MAY STILL STAND STILL.")
                    .next(format!("type in the database's own client:  {}{}", entry.text, entry.again.client.end)),
            ),
        }
    }
    if faults.is_empty() { Ok(done) } else { Err(faults) }
}

async fn take_back(entry: &Entry, same_boot: bool) -> Result<String, String> {
    match recovery(entry.lasts, same_boot) {
        Recovery::Gone => Ok("ended with the server".into()),
        Recovery::EndClient => {
            let process = entry.process;
            let ended = tokio::task::spawn_blocking(move || process.kill(LONGEST)).await;
            ended.map_err(|e| e.to_string())?.map_err(|e| format!("its client {} did not end: {e}", process.pid))?;
            Ok("ended with its client".into())
        }
        Recovery::Undo => undo(entry).await.map_err(|e| e.to_string()),
    }
}

async fn undo(entry: &Entry) -> Result<String, StatementError> {
    let lost = |why: String| StatementError::Lost(why);
    let read = config::read(&entry.again.configuration)
        .map_err(|f| lost(f.first().map_or(String::new(), |f| f.what.clone())))?;
    let workload = read.workloads.iter().find(|w| w.name == entry.workload);
    let workload = workload.ok_or_else(|| lost(format!("it is no longer in {}", read.path.display())))?;
    let most = Most { rows: 16, bytes: 64 * 1024 };
    let mut session =
        session::open(workload, &entry.again.client, entry.database.as_deref(), most).map_err(|f| lost(f.what))?;
    let undone = session.run(&entry.text, &[], Instant::now() + LONGEST).await;
    session.close().await;
    undone.map(|_| "undone".into())
}
