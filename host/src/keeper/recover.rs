//! Taking back what a keeper that is gone left frozen: from the ledger alone.

use std::time::Duration;

use stillpoint_contract::manifest::Lasts;
use stillpoint_contract::message::StatementError;
use tokio::time::Instant;

use super::places::Places;
use crate::client::session::{self, Most, Session};
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
    let unreadable = |e: std::io::Error| vec![unreadable(places, &e)];
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

/// The ledger is there, and nobody knows what it holds.
pub fn unreadable(places: &Places, why: &std::io::Error) -> Fault {
    let what = format!("the ledger {} cannot be read: {why}.", places.ledger().display());
    Fault::new("SP-CYCLE-005", Exit::NotThawed, what)
        .done("SOMETHING MAY STILL STAND STILL.")
        .next("look at the file: each line names an undo in its own words")
}

async fn take_back(entry: &Entry, same_boot: bool) -> Result<String, String> {
    match recovery(entry.lasts, same_boot) {
        Recovery::Gone => Ok("ended with the server".into()),
        Recovery::EndClient => {
            let process = entry.process;
            let ended = tokio::task::spawn_blocking(move || process.kill(LONGEST)).await;
            ended.map_err(|e| e.to_string())?.map_err(|e| format!("its client {} did not end: {e}", process.pid))?;
            match &entry.again.cancel {
                Some(cancel) => Ok(cancelled(entry, cancel).await),
                None => Ok("ended with its client".into()),
            }
        }
        Recovery::Undo => undo(entry).await.map_err(|e| e.to_string()),
    }
}

/// A statement of the client's that still waited for a lock waits on: the server is told to end it.
async fn cancelled(entry: &Entry, cancel: &str) -> String {
    let asked = async {
        let mut session = open(entry)?;
        let done = session.execute(cancel, Instant::now() + LONGEST).await;
        session.close().await;
        done
    };
    match asked.await {
        Ok(()) => "ended with its client, and on the server".into(),
        // The server's answer that there is no such session.
        Err(StatementError::Failed(_)) => "ended with its client".into(),
        Err(why) => format!("ended with its client; the server could not be asked: {why}"),
    }
}

async fn undo(entry: &Entry) -> Result<String, StatementError> {
    let mut session = open(entry)?;
    let undone = undo_in(&mut session, entry).await;
    session.close().await;
    undone
}

fn open(entry: &Entry) -> Result<Session, StatementError> {
    let lost = |why: String| StatementError::Lost(why);
    let read = config::read(&entry.again.configuration)
        .map_err(|f| lost(f.first().map_or(String::new(), |f| f.what.clone())))?;
    let workload = read.workloads.iter().find(|w| w.name == entry.workload);
    let workload = workload.ok_or_else(|| lost(format!("it is no longer in {}", read.path.display())))?;
    let most = Most { rows: 16, bytes: 64 * 1024 };
    session::open(workload, &entry.again.client, entry.database.as_deref(), most).map_err(|f| lost(f.what))
}

async fn undo_in(session: &mut Session, entry: &Entry) -> Result<String, StatementError> {
    let deadline = Instant::now() + LONGEST;
    // What lives in a server's memory must not be undone on the server that came after it.
    if let (Lasts::Server, Some(then), Some((ask, columns))) = (entry.lasts, &entry.identity, &entry.again.identity) {
        let now = session.run(ask, columns, deadline).await?;
        if serde_json::to_string(&now).is_ok_and(|now| now != *then) {
            return Ok("ended with the server that was restarted".into());
        }
    }
    session.execute(&entry.text, deadline).await?;
    Ok("undone".into())
}
