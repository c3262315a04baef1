//! The process that holds: one for each cycle. It is told everything over one connection by the command that started
//! it, listens on a socket of its own while it holds, and thaws whatever happens to either.

pub mod control;
pub mod places;

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use stillpoint_contract::manifest::Mode as ClientMode;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::{self, Configuration};
use crate::crash::{self, Step};
use crate::cycle::book::{Book, Closing};
use crate::cycle::record::{NOT_WRITTEN, Record};
use crate::cycle::{Cycle, Release};
use crate::events::Events;
use crate::fault::{Exit, Fault};
use crate::ledger::{self, Ledger};
use crate::sys::scope::{self, Who};
use crate::sys::{cgroup, disk, memory, process};
use crate::trust::{self, Verified};
use crate::{guard, recovery};
use control::{Asked, Say};
use places::Places;

/// How long the verdict waits for our own disk.
const OWN_DISK: Duration = Duration::from_secs(5);

/// What a keeper is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// Where everything lies.
    pub places: Places,
    /// The configuration that was named, if one was.
    pub config: Option<PathBuf>,
    /// Whether the loss of the command that started it thaws at once.
    pub tied: bool,
}

/// Reads the configuration and verifies every module: all that can be refused before anything is started.
///
/// # Errors
/// Every mistake that was found.
pub fn load(places: &Places, named: Option<&std::path::Path>) -> Result<(Configuration, Vec<Verified>), Vec<Fault>> {
    let configuration = config::read(&config::find(named, &places.etc))?;
    let mut modules = Vec::new();
    let mut faults = Vec::new();
    for workload in &configuration.workloads {
        let bundle = match &workload.module {
            Some(path) => Ok(path.clone()),
            None => trust::find(&workload.workload_name, &places.modules()),
        };
        let verified = bundle.and_then(|b| trust::verify(&b, &places.allowed_signers())).and_then(|module| {
            crate::client::program::find(workload, &module.manifest().client.programs)?;
            if module.manifest().client.mode == ClientMode::Command {
                return Err(Fault::new(
                    "SP-TRUST-009",
                    Exit::Untrusted,
                    "its module wants one client for each statement, which this version does not do.",
                )
                .next("use a newer version of stillpoint"));
            }
            if module.manifest().client.login.is_none() && !workload.credential.is_empty() {
                return Err(Fault::new("SP-CFG-012", Exit::Usage, "this module's client takes no login string.")
                    .next("remove  credString  or  credential_file"));
            }
            let each = module.manifest().sessions.values().any(|s| s.each.is_some());
            if each && workload.databases.is_empty() {
                return Err(Fault::new(
                    "SP-CFG-006",
                    Exit::Usage,
                    "dbnames is missing: this module opens each database.",
                )
                .next("list them:  dbnames = …, …"));
            }
            Ok(module)
        });
        match verified {
            Ok(module) => modules.push(module),
            Err(fault) => faults.push(if fault.workload.is_none() { fault.of(&workload.name) } else { fault }),
        }
    }
    if faults.is_empty() { Ok((configuration, modules)) } else { Err(faults) }
}

/// A cycle's id: eight hexadecimal digits.
///
/// # Errors
/// When the system gives no random numbers.
pub fn cycle_id() -> io::Result<String> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex::encode(bytes))
}

/// The keeper's whole life. Its agent is at the other end of standard input.
///
/// # Errors
/// When not even its connection can be used.
pub fn keep(start: &Start) -> io::Result<Exit> {
    rustix::process::umask(Mode::from_bits_truncate(0o077));
    // Out of the agent's process group and terminal: what ends those does not end the hold.
    let _ = rustix::process::setsid();
    crash::under(&start.places.run);
    // Before anything is begun, and before its clients are started, each in a control group below its own.
    let left = scope::leave_unit(Who::Keeper);
    let agent = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    agent.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The threads that sync are made in prepare and must still be there in the window.
        .thread_keep_alive(Duration::from_secs(86_400))
        .build()?;
    let local = tokio::task::LocalSet::new();
    let exit = local.block_on(&runtime, async {
        let agent = UnixStream::from_std(agent)?;
        io::Result::Ok(hold(start, agent, left).await)
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    exit
}

async fn hold(start: &Start, agent: UnixStream, left: io::Result<()>) -> Exit {
    let (asks, mut asked) = mpsc::channel(16);
    let events_socket = start.places.run.join("events.sock");
    let speaker = control::Speaker::new(agent, asks.clone());
    // Who hears it may begin the next cycle at once: the lock goes first.
    let refuse = async |faults: Vec<Fault>, lock: Option<std::fs::File>| {
        drop(lock);
        let exit = faults.iter().map(|f| f.exit).max().unwrap_or(Exit::Internal);
        let _ = speaker.say(Say::Refused(faults)).await;
        exit
    };
    let lock = match begin(&start.places) {
        Ok(lock) => lock,
        Err(fault) => return refuse(vec![fault], None).await,
    };
    crash::step(Step::Locked);
    // What an earlier keeper left frozen comes first.
    let recovered = match recovery::recover(&start.places, Duration::ZERO).await {
        Ok(recovered) => recovered,
        Err(faults) => return refuse(faults, Some(lock)).await,
    };
    let (configuration, modules) = match load(&start.places, start.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(faults) => return refuse(faults, Some(lock)).await,
    };
    let open = Rc::new(Cell::new(0));
    cgroup::sweep();
    let boot = match process::boot_id() {
        Ok(boot) => boot,
        Err(e) => return refuse(vec![not_begun(&e)], Some(lock)).await,
    };
    let made = (|| {
        let id = cycle_id()?;
        let events = Events::new(&id);
        if !start.tied {
            disk::replace(&start.places.unclaimed(), id.as_bytes())?;
        }
        let book = Rc::new(Book::begin(&start.places.ledger(), &id, &boot)?);
        events.serve(&events_socket)?;
        control::serve(&start.places.control(), asks, Rc::clone(&open))?;
        io::Result::Ok((id, events, book))
    })();
    let (id, events, book) = match made {
        Ok(made) => made,
        Err(e) => return refuse(vec![not_begun(&e)], Some(lock)).await,
    };
    crash::step(Step::LedgerBegun);
    let made = Cycle::new(id.clone(), configuration, modules, book, events.clone()).and_then(|mut cycle| {
        cycle.open_filesystems(&start.places.ours())?;
        let first = Ledger::open(&id, &boot).1;
        let first = ledger::file::line(&first).map_err(|e| not_begun(&e))?;
        let keeper = std::process::id().cast_signed();
        let lock = lock.try_clone().map_err(|e| not_begun(&e))?;
        cycle.guarded_by(guard::process::Start { places: start.places.clone(), cycle: id, keeper, first }, lock);
        Ok(cycle)
    });
    let mut cycle = match made {
        Ok(cycle) => cycle,
        Err(fault) => return refuse(vec![fault], Some(lock)).await,
    };
    // What is needed while something stands still is not waited for then.
    memory::lock_what_is_used();
    if let Err(e) = left {
        let what = format!("the keeper has no unit of its own: {e}. What ends the agent's unit ends the keeper, too.");
        let next = "see whether  busctl  reaches the service manager, as root";
        cycle.warn(Fault::new("SP-GUARD-004", Exit::Internal, what).next(next));
    }
    if !recovered.is_empty() {
        let what = format!("an earlier cycle had lost its keeper; taken back: {}.", recovered.join(", "));
        let next = "a snapshot of that cycle is not application-consistent";
        cycle.warn(Fault::new("SP-CYCLE-010", Exit::Inconsistent, what).next(next));
    }
    speaker.tell_events(&events);
    let (release, reply) = until_release(&mut cycle, &events, &speaker, &mut asked, start.tied).await;
    crash::step(Step::Released);
    let (book, limit) = (Rc::clone(&cycle.book), cycle.configuration.timeout);
    let cycle_id = cycle.id.clone();
    let status = || control::Status::now(&cycle_id, &book, limit);
    let mut waiting: Vec<_> = reply.into_iter().collect();
    answering(&mut asked, &mut waiting, &status, async {
        cycle.thaw(&release).await;
        crash::step(Step::Thawed);
        cycle.close().await;
    })
    .await;
    let mut record = cycle.record();
    let (places, closing, kept) = (start.places.clone(), book.closing(), record.clone());
    let mut writing = tokio::task::spawn_blocking(move || write_down(&places, closing, kept));
    let written = answering(&mut asked, &mut waiting, &status, timeout(OWN_DISK, &mut writing)).await;
    let verdict = |record: &Record| {
        let (cycle, verdict, kind, exit) = (&record.cycle, record.verdict, record.kind, record.exit);
        let data = serde_json::json!({ "cycle": cycle, "verdict": verdict, "kind": kind, "exit": exit });
        events.publish("cycle.verdict", None, data);
        events.end();
    };
    let late = written.is_err();
    if let Ok(written) = written {
        record = written.unwrap_or(record);
        verdict(&record);
    } else {
        // The agent may have frozen our own disk and wait for this answer before it lets it go on.
        let what = format!("our own disk has not answered for {} seconds.", OWN_DISK.as_secs());
        let warning = Fault::new(NOT_WRITTEN, Exit::Inconsistent, what)
            .done("Nothing waits for it; the cycle's record is written, and the cycle over, as soon as it answers.");
        record.warnings.push(warning.next("let the filesystem of the state directory go on, if it is frozen"));
        verdict(&record);
        let mut told = speaker.say(Say::Record(Box::new(record.clone()))).await;
        let written = async {
            let _ = writing.await;
        };
        tokio::pin!(written);
        loop {
            for reply in waiting.drain(..) {
                told |= reply.send(Say::Record(Box::new(record.clone()))).is_ok();
            }
            // Whoever asks from here on is told at once.
            if answering_one(&mut asked, &mut waiting, &status, written.as_mut()).await.is_some() {
                break;
            }
        }
        if told {
            let places = start.places.clone();
            let _ = tokio::task::spawn_blocking(move || places.forget_unclaimed()).await;
        }
    }
    book.end_guard().await;
    crash::step(Step::Verdict);
    // Who hears the verdict may begin the next cycle at once. A cycle that came to no guard holds the lock for it.
    drop(cycle);
    drop(lock);
    if !late {
        let _ = speaker.say(Say::Record(Box::new(record.clone()))).await;
    }
    for reply in waiting {
        let _ = reply.send(Say::Record(Box::new(record.clone())));
    }
    drop(asked);
    control::drain(&open).await;
    record.exit
}

/// Everything that is written once nothing stands still any more. On a thread that may block: our own disk may be frozen
/// by the agent. Gives the record with what went wrong meanwhile.
fn write_down(places: &Places, closing: io::Result<Closing>, mut record: Record) -> Record {
    if let Err(e) = closing.and_then(Closing::write) {
        let what = format!("the ledger's closing lines could not be written: {e}.");
        let fault = Fault::new("SP-CYCLE-008", Exit::Internal, what);
        record.faults.push(fault.next("run  stillpoint recover  once the disk can be written again"));
    }
    crash::step(Step::Closed);
    if let Err(e) = keep_record(places, &record).and_then(|()| crash::may_fail(Step::Recorded)) {
        let what = format!("the cycle's record could not be written: {e}.");
        record.faults.push(Fault::new("SP-CYCLE-014", Exit::Internal, what).next("see whether the disk is full"));
    }
    control::end(places);
    record
}

/// Answers one question, or gives what `done` gives. Who asks for the thaw waits for the verdict.
async fn answering_one<T>(
    asked: &mut mpsc::Receiver<Asked>,
    waiting: &mut Vec<oneshot::Sender<Say>>,
    status: &impl Fn() -> control::Status,
    done: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = done => return Some(done),
        Some(what) = asked.recv() => match what {
            Asked::Thaw(reply) => waiting.push(reply),
            Asked::Status(reply) => drop(reply.send(Say::Status(status()))),
            // It thaws already.
            Asked::AgentThaws | Asked::AgentAbandons | Asked::AgentLost => {}
        },
    }
    None
}

/// Does something, and answers meanwhile.
async fn answering<T>(
    asked: &mut mpsc::Receiver<Asked>,
    waiting: &mut Vec<oneshot::Sender<Say>>,
    status: &impl Fn() -> control::Status,
    what: impl Future<Output = T>,
) -> T {
    tokio::pin!(what);
    loop {
        if let Some(done) = answering_one(asked, waiting, status, what.as_mut()).await {
            return done;
        }
    }
}

type Reply = Option<oneshot::Sender<Say>>;

/// Freezes and holds, until something says that it is over.
async fn until_release(
    cycle: &mut Cycle,
    events: &Events,
    speaker: &control::Speaker,
    asked: &mut mpsc::Receiver<Asked>,
    tied: bool,
) -> (Release, Reply) {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut term), Ok(mut interrupt), Ok(mut hangup)) = signals else { return (Release::Signal, None) };
    let expired = cycle.expired();
    tokio::pin!(expired);
    let (id, book, limit) = (cycle.id.clone(), Rc::clone(&cycle.book), cycle.configuration.timeout);
    let status = || control::Status::now(&id, &book, limit);
    let frozen = {
        let freezing = cycle.freeze();
        tokio::pin!(freezing);
        loop {
            tokio::select! {
                biased;
                frozen = &mut freezing => break frozen,
                () = &mut expired => return (Release::Expired, None),
                _ = term.recv() => return (Release::Signal, None),
                // The agent's terminal and process group are nothing to the keeper.
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
                Some(what) = asked.recv() => match what {
                    Asked::Thaw(reply) => return (Release::Asked, Some(reply)),
                    Asked::Status(reply) => drop(reply.send(Say::Status(status()))),
                    Asked::AgentThaws => return (Release::Asked, None),
                    Asked::AgentAbandons => return (Release::Abandoned, None),
                    // Nobody is there to be told "frozen", tied or not.
                    Asked::AgentLost => return (Release::AgentLost, None),
                },
            }
        }
    };
    if !frozen {
        return (Release::NotFrozen, None);
    }
    crash::step(Step::Frozen);
    let held = || control::Status { complete: true, failed: cycle.failed(), ..status() };
    if !speaker.say(Say::Frozen(held())).await {
        return (Release::AgentLost, None);
    }
    crash::step(Step::Told);
    events.publish("cycle.frozen", None, serde_json::json!({ "cycle": cycle.id, "workloads": book.holding() }));
    let unwatched = book.watch_guard(events);
    tokio::pin!(unwatched);
    loop {
        tokio::select! {
            biased;
            () = &mut expired => return (Release::Expired, None),
            () = &mut unwatched => return (Release::GuardLost, None),
            _ = term.recv() => return (Release::Signal, None),
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            Some(what) = asked.recv() => match what {
                Asked::Thaw(reply) => return (Release::Asked, Some(reply)),
                Asked::Status(reply) => drop(reply.send(Say::Status(held()))),
                Asked::AgentThaws => return (Release::Asked, None),
                Asked::AgentAbandons => return (Release::Abandoned, None),
                Asked::AgentLost if tied => return (Release::AgentLost, None),
                Asked::AgentLost => {}
            },
        }
    }
}

/// The folders, and the lock: one cycle at a time.
fn begin(places: &Places) -> Result<std::fs::File, Fault> {
    places.make().map_err(|e| not_begun(&e))?;
    // The guard of a cycle that lost its keeper ends a moment after its ledger is closed.
    let deadline = std::time::Instant::now() + Duration::from_secs(1);
    let lock = loop {
        match disk::lock(&places.lock()) {
            Ok(None) if std::time::Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            other => break other,
        }
    };
    match lock {
        Ok(Some(lock)) => {
            // Whoever asks for a verdict from here on asks for this cycle's.
            places.forget_unclaimed().map_err(|e| not_begun(&e))?;
            Ok(lock)
        }
        Ok(None) => Err(Fault::new("SP-CYCLE-007", Exit::Busy, "another cycle is under way.")
            .done("Nothing was done.")
            .next("wait for it, or see  stillpoint status")),
        Err(e) => Err(not_begun(&e)),
    }
}

fn not_begun(e: &io::Error) -> Fault {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let ours = !matches!(e.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem);
    let exit = if ours { Exit::Internal } else { Exit::NotFrozen };
    Fault::new("SP-CYCLE-001", exit, format!("the cycle could not begin: {e}."))
        .done("Nothing was frozen.")
        .next("see whether the state directory can be written")
}

/// Puts the record where `thaw` and people find it.
pub(crate) fn keep_record(places: &Places, record: &Record) -> io::Result<()> {
    disk::replace(&places.record(&record.cycle), &serde_json::to_vec_pretty(record)?)
}
