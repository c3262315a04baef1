//! Taking back what a keeper that is gone left frozen: from the ledger alone, without module and, as a rule, without the
//! configuration. Whoever does it holds the lock. It can be done any number of times.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::time::Duration;

use stillpoint_contract::manifest::Lasts;
use stillpoint_contract::message::{StatementError, Value, only};
use tokio::time::Instant;

use crate::audit::{self, Who, chain};
use crate::client::reach::Reach;
use crate::client::session::{self, Most, Session};
use crate::config::Login;
use crate::crash::{self, Step};
use crate::cycle::record::Record;
use crate::fault::{Exit, Fault};
use crate::keeper::keep_record;
use crate::keeper::places::Places;
use crate::ledger::file::{self, LedgerFile};
use crate::ledger::{AfterALoss, Answered, Entry, Ledger, Statement, Undo, after_a_loss};
use crate::sys::{freeze, process, socket};

/// How long ending a client, or one undo, may take.
const LONGEST: Duration = Duration::from_secs(10);

/// The first wait before what failed is tried again, and the longest.
const SOON: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(5);

/// How long a connection may take that only shows whether anybody is there.
const SHORT: Duration = Duration::from_secs(1);

/// How much of an answer is read.
const MOST: Most = Most { rows: 16, bytes: 64 * 1024 };

/// Sessions that are open already, one for each workload and database: on some databases a new login hangs while they
/// stand still.
#[derive(Default)]
pub struct Living(BTreeMap<(String, Option<String>), Session>);

impl Living {
    /// Opens a session and waits until the database has answered in it.
    ///
    /// # Errors
    /// In words: why the database cannot be reached.
    pub async fn add(&mut self, reach: &Reach, database: Option<&str>, deadline: Instant) -> Result<(), String> {
        let mut session = open(reach, database)?;
        session.touch(deadline).await.map_err(|e| e.to_string())?;
        self.0.insert((reach.workload.clone(), database.map(str::to_owned)), session);
        Ok(())
    }

    /// The session for this undo: one that lives, else a new one.
    fn get(&mut self, workload: &str, undo: &Statement) -> Result<&mut Session, String> {
        let key = (workload.to_owned(), undo.database.clone());
        if self.0.get(&key).is_none_or(|s| s.is_lost() || s.is_busy()) {
            self.0.insert(key.clone(), open(&undo.reach, undo.database.as_deref())?);
        }
        self.0.get_mut(&key).ok_or_else(|| "it is not open".into())
    }

    /// Does something in the session for this undo, and once more in a new one where the living one turns out to be dead.
    async fn twice<T>(
        &mut self,
        workload: &str,
        undo: &Statement,
        act: impl AsyncFn(&mut Session, Instant) -> Result<T, StatementError>,
    ) -> Result<T, Failed> {
        // The living session may hang without an end: it is not given all the time there is.
        for longest in [LONGEST / 5, LONGEST] {
            let session = self.get(workload, undo).map_err(Failed::NotReached)?;
            match act(session, Instant::now() + longest).await {
                Ok(done) => return Ok(done),
                Err(StatementError::Lost(_) | StatementError::TimedOut) if longest < LONGEST => {}
                Err(e @ (StatementError::Lost(_) | StatementError::TimedOut)) => {
                    return Err(Failed::NotReached(e.to_string()));
                }
                Err(e) => return Err(Failed::Said(e)),
            }
        }
        Err(Failed::NotReached("it does not answer".into()))
    }

    async fn execute(&mut self, workload: &str, undo: &Statement, text: &str) -> Result<(), Failed> {
        self.twice(workload, undo, async |session, deadline| session.execute(text, deadline).await).await
    }

    /// Asks again what was asked before.
    async fn ask(&mut self, workload: &str, undo: &Statement, question: &Answered) -> Result<Value, String> {
        let ask =
            async |session: &mut Session, deadline| session.run(&question.text, &question.columns, deadline).await;
        let rows = self.twice(workload, undo, ask).await.map_err(|failed| match failed {
            Failed::Said(why) => why.to_string(),
            Failed::NotReached(why) => why,
        })?;
        only(&rows).ok_or_else(|| "it gave not one row".into())
    }

    /// Ends them all.
    pub async fn close(self) {
        for session in self.0.into_values() {
            session.close().await;
        }
    }
}

/// Why an undo was not acknowledged.
enum Failed {
    /// The database refused it.
    Said(StatementError),
    /// The database did not answer.
    NotReached(String),
}

fn open(reach: &Reach, database: Option<&str>) -> Result<Session, String> {
    let secret = reach.secret()?;
    session::open(reach, secret.as_ref(), database, MOST).map_err(|f| f.what)
}

/// What recovery did.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What was taken back, one line for each.
    pub done: Vec<String>,
    /// What would be better otherwise.
    pub warnings: Vec<Fault>,
}

/// Takes back everything that is still armed, and tries again what fails for as long as `patience`. The caller holds the
/// lock.
///
/// # Errors
/// `SP-CYCLE-006` for each entry that could not be taken back, with the words to type.
pub async fn recover(places: &Places, patience: Duration) -> Result<Recovered, Vec<Fault>> {
    let unreadable = |e: std::io::Error| vec![unreadable(places, &e)];
    let ledger = file::read(&places.ledger()).map_err(unreadable)?;
    let Some(mut ledger) = ledger.filter(|l| l.armed().next().is_some()) else {
        // A keeper that was lost with nothing armed; the next cycle says where that cannot be written.
        let _ = chain::end_newest(&places.records());
        return Ok(Recovered::default());
    };
    crash::step(Step::RecoveryRead);
    let mut disk = LedgerFile::reopen(&places.ledger()).map_err(unreadable)?;
    let mut living = Living::default();
    // In doubt it is this one: then nothing counts as gone.
    let same_boot = !process::boot_id().is_ok_and(|b| b != ledger.boot());
    let armed: Vec<Entry> = ledger.armed().cloned().collect();
    let mut closing = Vec::new();
    let (done, faults) = take_all_back(&mut ledger, same_boot, &mut living, patience, |line| {
        // A line that cannot be written only means that the same is taken back once more.
        let _ = disk.append(line, false);
        closing.push(line.clone());
    })
    .await;
    living.close().await;
    // For an agent that asks for its verdict later. The cycle may have left one, and this may be the second attempt.
    let said = if faults.is_empty() { vec![lost_keeper(Some(ledger.cycle()), &done)] } else { faults.clone() };
    let mut record = Record::of_a_lost_keeper(ledger.cycle(), "recovery", true, said);
    audit::end_lost(&places.records(), Who::Recovery, &audit::undos(&armed, &closing, Who::Recovery), &mut record);
    if !faults.is_empty() {
        let ledger = places.ledger();
        let by_hand = |f: Fault| match f.next.clone() {
            Some(next) => f.next(format!(
                "{next}. What was undone by hand stays in {} until that is moved away",
                ledger.display()
            )),
            None => f,
        };
        return Err(faults.into_iter().map(by_hand).collect());
    }
    if !places.record(ledger.cycle()).exists() {
        let _ = keep_record(places, &record);
    }
    Ok(Recovered { done, warnings: record.warnings })
}

/// What is said of a cycle that lost its keeper, once everything is taken back: by whom and how, one line for each. `None` where
/// it had not begun: then what was taken back is of the one before it.
pub fn lost_keeper(cycle: Option<&str>, done: &[String]) -> Fault {
    let what = match (cycle, done.join(", ")) {
        (Some(cycle), done) if done.is_empty() => format!("cycle {cycle} lost its keeper before anything was frozen."),
        (Some(cycle), done) => format!("cycle {cycle} lost its keeper; taken back: {done}."),
        (None, done) if done.is_empty() => "the keeper was lost before its cycle began.".into(),
        (None, done) => format!("the keeper was lost before its cycle began; of the one before, taken back: {done}."),
    };
    Fault::new("SP-CYCLE-011", Exit::Inconsistent, what)
        .done("Nothing stands still.")
        .next("a snapshot of that cycle is not application-consistent: take another")
}

/// The ledger is there, and nobody knows what it holds.
pub fn unreadable(places: &Places, why: &std::io::Error) -> Fault {
    let what = format!("the ledger {} cannot be read: {why}.", places.ledger().display());
    Fault::new("SP-CYCLE-005", Exit::NotThawed, what)
        .done("SOMETHING MAY STILL STAND STILL.")
        .next("look at the file: each line names an undo in its own words")
}

/// Takes back what a ledger holds, the last first, and each that fails again and again until `patience` has passed:
/// whatever failed before it. `same_boot` tells whether the machine still runs the boot in which it was written; `write` is
/// given each closing line.
pub async fn take_all_back(
    ledger: &mut Ledger,
    same_boot: bool,
    living: &mut Living,
    patience: Duration,
    mut write: impl FnMut(&crate::ledger::Line),
) -> (Vec<String>, Vec<Fault>) {
    let end = Instant::now() + patience;
    let mut wait = SOON;
    let mut done = Vec::new();
    loop {
        let mut faults = Vec::new();
        let entries: Vec<Entry> = ledger.armed().cloned().collect();
        for entry in entries {
            let taken = match crash::may_fail(Step::RecoveryUndoing) {
                Ok(()) => take_back(&entry, same_boot, living).await,
                Err(e) => Err(e.to_string()),
            };
            match taken {
                Ok(how) => {
                    crash::step(Step::RecoveryUndone);
                    done.push(format!("{} {how}", entry.words()));
                    ledger.disarm(&how, |e| e.number == entry.number).iter().for_each(&mut write);
                }
                Err(why) => faults.push(
                    Fault::new(
                        "SP-CYCLE-006",
                        Exit::NotThawed,
                        format!("{} of cycle {} is not taken back: {why}.", entry.froze, ledger.cycle()),
                    )
                    .of(&entry.workload)
                    .done("SOMETHING MAY STILL STAND STILL.")
                    .next(entry.by_hand()),
                ),
            }
        }
        if faults.is_empty() || Instant::now() + wait > end {
            return (done, faults);
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LATE);
    }
}

async fn take_back(entry: &Entry, same_boot: bool, living: &mut Living) -> Result<String, String> {
    match (after_a_loss(entry.lasts, same_boot), &entry.undo) {
        (AfterALoss::Gone, _) => Ok("ended with the server".into()),
        (_, Undo::Filesystem(filesystem)) => {
            let filesystem = filesystem.clone();
            let thawed = tokio::task::spawn_blocking(move || thaw(&filesystem));
            match tokio::time::timeout(LONGEST, thawed).await {
                Ok(done) => done.map_err(|e| e.to_string())?,
                Err(_) => Err("the filesystem does not answer".into()),
            }
        }
        (AfterALoss::EndClient, Undo::Statement(undo)) => {
            let (process, group) = (undo.process, undo.group.clone());
            let ended = tokio::task::spawn_blocking(move || process.kill(group.as_deref(), LONGEST)).await;
            ended.map_err(|e| e.to_string())?.map_err(|e| format!("its client {} did not end: {e}", process.pid))?;
            Ok(match &undo.cancel {
                // A statement of the client's that still waited for a lock waits on: the server is told to end it.
                Some(cancel) => match living.execute(&entry.workload, undo, cancel).await {
                    Ok(()) => "ended with its client, and on the server".into(),
                    // The server's answer that there is no such session.
                    Err(Failed::Said(_)) => "ended with its client".into(),
                    Err(Failed::NotReached(_)) if nobody_listens(&undo.reach.login).await => {
                        "ended with its client; the server is down".into()
                    }
                    // What its session holds there may stand for as long as the server does not miss the client.
                    Err(Failed::NotReached(why)) => {
                        return Err(format!("its client has ended, but the server could not be asked: {why}"));
                    }
                },
                None => "ended with its client".into(),
            })
        }
        (AfterALoss::Undo, Undo::Statement(undo)) => match take_back_by(entry, undo, living).await {
            // What the server would have ended by itself ended with it.
            Err(_) if entry.lasts == Lasts::Expires && nobody_listens(&undo.reach.login).await => {
                Ok("ended with the server, which is down".into())
            }
            taken => taken,
        },
    }
}

async fn take_back_by(entry: &Entry, undo: &Statement, living: &mut Living) -> Result<String, String> {
    let workload = &entry.workload;
    // What lives in a server's memory must not be undone on the server that came after it.
    if let (Lasts::Server | Lasts::Expires, Some(then)) = (entry.lasts, &undo.identity)
        && living.ask(workload, undo, then).await? != then.answer
    {
        return Ok("ended with the server that was restarted".into());
    }
    // Nor what somebody has changed since. In doubt it is undone.
    if let (Lasts::Server, Some(set)) = (entry.lasts, &undo.set)
        && living.ask(workload, undo, set).await.is_ok_and(|now| now != set.answer)
    {
        return Ok("found undone".into());
    }
    // A freeze that still waits on the same server would come after its undo.
    let cancelled = match (entry.lasts, &undo.cancel, &undo.identity) {
        (Lasts::Disk, Some(cancel), Some(then))
            if living.ask(workload, undo, then).await.is_ok_and(|now| now == then.answer) =>
        {
            living.execute(workload, undo, cancel).await
        }
        _ => Ok(()),
    };
    let undone = living.execute(workload, undo, &undo.text).await;
    // Any answer will do: most often it is that there is no such session any more.
    if let Err(Failed::NotReached(why)) = cancelled {
        return Err(format!("whether its session has ended could not be asked: {why}"));
    }
    match (undone, &undo.set) {
        (Ok(()), _) => Ok("undone".into()),
        (Err(Failed::Said(why)), _) if undo.finds_nothing(&why) => Ok("found undone".into()),
        // An undo that finds nothing to undo is done.
        (Err(Failed::Said(why)), Some(set)) => match living.ask(workload, undo, set).await {
            Ok(now) if now != set.answer => Ok("found undone".into()),
            _ => Err(why.to_string()),
        },
        (Err(Failed::Said(why)), None) => Err(why.to_string()),
        (Err(Failed::NotReached(why)), _) => Err(why),
    }
}

/// Whether it is certain that no server runs there: then no session does. One that hangs keeps nobody waiting: others may
/// still have to be taken back.
async fn nobody_listens(login: &Login) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let refused = |e: std::io::Error| matches!(e.kind(), ConnectionRefused | NotFound);
    let login = login.clone();
    let asked = tokio::task::spawn_blocking(move || {
        if let Some(path) = login.socket_file() {
            return socket::reach(&path).is_err_and(refused);
        }
        let (Some(host), Some(port)) = (&login.host, login.port) else { return false };
        let addresses = (host.as_str(), port).to_socket_addrs().into_iter().flatten();
        let answers: Vec<_> = addresses.map(|a| std::net::TcpStream::connect_timeout(&a, SHORT)).collect();
        !answers.is_empty() && answers.into_iter().all(|a| a.is_err_and(refused))
    });
    tokio::time::timeout(3 * SHORT, asked).await.is_ok_and(|answer| answer.unwrap_or(false))
}

/// Thaws the very filesystem that we froze.
fn thaw(filesystem: &crate::ledger::Filesystem) -> Result<String, String> {
    let folder = freeze::open(&filesystem.path).map_err(|e| e.to_string())?;
    if freeze::superblock(&folder).map_err(|e| e.to_string())? != filesystem.superblock {
        // It is mounted elsewhere, or no longer: then it cannot be reached by this path.
        return Err("another filesystem is mounted there".into());
    }
    match freeze::thaw(&folder).map_err(|e| e.to_string())? {
        freeze::Done::Changed => Ok("thawed".into()),
        freeze::Done::Already => Ok("found thawed".into()),
    }
}
