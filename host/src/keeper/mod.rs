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

use futures_util::future::join_all;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use stillpoint_contract::manifest::Mode as ClientMode;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::audit::{self, chain::Chain};
use crate::client::session::Session;
use crate::compiled::Store;
use crate::config::{self, Configuration};
use crate::crash::{self, Step};
use crate::cycle::book::{Book, Closing};
use crate::cycle::record::{NOT_WRITTEN, Record, Verdict};
use crate::cycle::{Cycle, Release};
use crate::events::Events;
use crate::fault::{Exit, Fault};
use crate::sys::scope::{self, Who};
use crate::sys::{cgroup, disk, memory, process};
use crate::trust::{self, Raise, Verified};
use crate::{guard, recover};
use control::{Asked, Say};
use places::Places;

/// A keeper that was just killed, or a guard that is done, is about to let go of the lock.
pub const ENDING: Duration = Duration::from_secs(1);

/// How long a client may go on with what counts as taken back already.
const FINISH: Duration = Duration::from_secs(3600);

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
    /// Whether modules that the configuration names by their folder need no signatures: for development.
    #[serde(default)]
    pub unsigned: bool,
}

/// All that was read before anything is started.
pub struct Loaded {
    /// What the operator asked for.
    pub configuration: Configuration,
    /// The module of each workload.
    pub modules: Vec<Verified>,
    /// Whom this machine trusts.
    pub root: trust::Root,
}

/// Reads the configuration and verifies every module: all that can be refused before anything is started.
///
/// # Errors
/// Every mistake that was found.
pub fn load(places: &Places, named: Option<&std::path::Path>, unsigned: bool) -> Result<Loaded, Vec<Fault>> {
    let path = config::find(named, &places.etc);
    // Also by another way there: a link, or a path with `..`.
    let is_the_systems = |path: &std::path::Path| path.starts_with("/etc");
    let by_name = is_the_systems(&path) || path.canonicalize().is_ok_and(|path| is_the_systems(&path));
    if unsigned && (places.are_the_systems() || by_name) {
        let what = "modules without signatures are never run from this machine's own configuration.";
        let fault = Fault::new("SP-TRUST-017", Exit::Untrusted, what).done("Nothing was frozen.");
        return Err(vec![fault.next("give a --state-dir of your own, and a --config that is not in /etc")]);
    }
    let mut configuration = config::read(&path)?;
    let root = trust::Root::read(&places.trust(), places.floors()).map_err(|f| vec![f])?;
    let mut modules: Vec<Verified> = Vec::new();
    let mut faults = Vec::new();
    for workload in &configuration.workloads {
        let bundle = match &workload.module {
            Some(path) => Ok(path.clone()),
            None => trust::find(&workload.workload_name, &places.modules()),
        };
        let verified = bundle.and_then(|bundle| match &workload.module {
            Some(_) if unsigned => trust::unsigned(&bundle),
            _ => {
                let module = trust::verify(&bundle, &root)?;
                trust::grant::check(&places.grants(), &module)?;
                Ok(module)
            }
        });
        let verified = verified.and_then(|module| {
            crate::client::reach::Reach::new(workload, &module.manifest().client, configuration.path.clone())?;
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
    for (workload, module) in configuration.workloads.iter().zip(&modules) {
        let warnings = module.warnings().iter().cloned().map(|w| w.of(&workload.name));
        configuration.warnings.extend(warnings);
        // Azure's own scripts freeze nothing at all then, and say that they have.
        if !workload.databases.is_empty() && module.manifest().sessions.values().all(|s| s.each.is_none()) {
            let what = "dbnames changes nothing: this module freezes the whole server.";
            let warning = Fault::new("SP-CFG-023", Exit::Usage, what).of(&workload.name);
            configuration.warnings.push(warning.next("the line can be removed"));
        }
    }
    if faults.is_empty() { Ok(Loaded { configuration, modules, root }) } else { Err(faults) }
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
    let speaker = control::Speaker::new(agent, asks.clone());
    let open = Rc::new(Cell::new(0));
    let lock = match begin(&start.places) {
        Ok(lock) => lock,
        Err(fault) => return refuse(&speaker, vec![fault]).await,
    };
    let (mut cycle, events, raise) = match set_up(start, left, &lock, asks, &open).await {
        Ok(made) => made,
        Err(faults) => {
            // Who hears it may begin the next cycle at once: the lock goes first.
            drop(lock);
            return refuse(&speaker, faults).await;
        }
    };
    speaker.tell_events(&events);
    let (release, reply) = until_release(&mut cycle, &events, &speaker, &mut asked, start.tied).await;
    crash::step(Step::Released);
    let waiting = reply.into_iter().collect();
    let ending = Ending { places: &start.places, speaker: &speaker, events: &events, asked, waiting, raise };
    let (exit, unfinished) = ending.conclude(cycle, &release, lock).await;
    control::drain(&open).await;
    // Everybody has their answer, and the lock is free.
    join_all(unfinished.into_iter().map(|session| session.finish(FINISH))).await;
    exit
}

/// Nothing was begun.
async fn refuse(speaker: &control::Speaker, faults: Vec<Fault>) -> Exit {
    let exit = faults.iter().map(|f| f.exit).max().unwrap_or(Exit::Internal);
    let _ = speaker.say(Say::Refused(faults)).await;
    exit
}

/// Takes back what an earlier keeper left, reads what is asked for, and puts the cycle together. Nothing is started yet.
async fn set_up(
    start: &Start,
    left: io::Result<()>,
    lock: &std::fs::File,
    asks: mpsc::Sender<Asked>,
    open: &Rc<Cell<usize>>,
) -> Result<(Cycle, Events, Vec<(String, Raise)>), Vec<Fault>> {
    crash::step(Step::Locked);
    let places = &start.places;
    let failed = |e: &io::Error| vec![not_begun(e)];
    let recovered = recover::recover(places, Duration::ZERO).await?;
    let Loaded { configuration, modules, root } = load(places, start.config.as_deref(), start.unsigned)?;
    let named = configuration.workloads.iter().map(|w| w.name.clone());
    let raise: Vec<_> = named.zip(modules.iter().map(|m| root.raise(m))).collect();
    cgroup::sweep();
    let boot = process::boot_id().map_err(|e| failed(&e))?;
    let made = (|| {
        let id = cycle_id()?;
        let events = Events::new(&id);
        if !start.tied {
            disk::replace(&places.unclaimed(), id.as_bytes())?;
        }
        let book = Rc::new(Book::begin(&places.ledger(), &id, &boot)?);
        events.serve(&places.run.join("events.sock"))?;
        control::serve(&places.control(), asks, Rc::clone(open))?;
        io::Result::Ok((id, events, book, lock.try_clone()?))
    })();
    let (id, events, book, lock) = made.map_err(|e| failed(&e))?;
    crash::step(Step::LedgerBegun);
    let one = |fault| vec![fault];
    let begin = begin_of(&id, &configuration, &modules);
    let keep = configuration.keep_records;
    events.recorded_in(&book.audit);
    let store = Store::new(places.compiled());
    let mut cycle = Cycle::new(id.clone(), configuration, modules, &store, book, events.clone()).map_err(one)?;
    cycle.open_filesystems(&places.ours()).map_err(one)?;
    cycle.book.audit.write_to(Chain::begin(&places.records(), begin, keep).map_err(|e| failed(&e))?);
    let keeper = std::process::id().cast_signed();
    cycle.guarded_by(guard::process::Start { places: places.clone(), cycle: id, boot, keeper }, lock);
    // What is needed while something stands still is not waited for then.
    memory::lock_what_is_used();
    if let Err(e) = left {
        let what = format!("the keeper has no unit of its own: {e}. What ends the agent's unit ends the keeper, too.");
        let next = "see whether  busctl  reaches the service manager, as root";
        cycle.warn(Fault::new("SP-GUARD-004", Exit::Internal, what).next(next));
    }
    recovered.warnings.into_iter().for_each(|w| cycle.warn(w));
    if !recovered.done.is_empty() {
        let what = format!("an earlier cycle had lost its keeper; taken back: {}.", recovered.done.join(", "));
        let next = "a snapshot of that cycle is not application-consistent";
        cycle.warn(Fault::new("SP-CYCLE-010", Exit::Inconsistent, what).next(next));
    }
    Ok((cycle, events, raise))
}

/// The first entry of its audit record.
fn begin_of(id: &str, configuration: &Configuration, modules: &[Verified]) -> audit::Begin {
    let begun = |(workload, module): (&config::Workload, &Verified)| audit::Begun {
        name: workload.name.clone(),
        module: module.manifest().name.clone(),
        version: module.manifest().version.clone(),
        manifest_sha256: audit::digest_of(module.manifest_bytes()),
        wasm_sha256: module.manifest().wasm.as_ref().map(|w| w.sha256.clone()).unwrap_or_default(),
        signers: module.signers().iter().map(|s| s.principal.clone()).collect(),
    };
    audit::Begin {
        version: audit::VERSION,
        cycle: id.into(),
        after: None,
        stillpoint: env!("CARGO_PKG_VERSION").into(),
        configuration: configuration.path.display().to_string(),
        workloads: configuration.workloads.iter().zip(modules).map(begun).collect(),
    }
}

/// From the release on: who still asks, and who is told.
struct Ending<'a> {
    places: &'a Places,
    speaker: &'a control::Speaker,
    events: &'a Events,
    asked: mpsc::Receiver<Asked>,
    /// Who asked for the thaw waits for the verdict.
    waiting: Vec<oneshot::Sender<Say>>,
    /// Below what nothing is taken once a workload's module has done its part.
    raise: Vec<(String, Raise)>,
}

impl Ending<'_> {
    /// Thaws, writes down what the cycle did, and tells the verdict.
    async fn conclude(mut self, mut cycle: Cycle, release: &Release, lock: std::fs::File) -> (Exit, Vec<Session>) {
        let (id, book, limit) = (cycle.id.clone(), Rc::clone(&cycle.book), cycle.configuration.timeout);
        let status = || control::Status::now(&id, &book, limit);
        self.answering(&status, async {
            cycle.thaw(release).await;
            crash::step(Step::Thawed);
            cycle.close().await;
        })
        .await;
        let mut record = cycle.record();
        book.audit.conclude(&record);
        let raise = std::mem::take(&mut self.raise);
        let (places, closing, audit, kept) =
            (self.places.clone(), book.closing(), book.audit.hand_over(), record.clone());
        let mut writing = tokio::task::spawn_blocking(move || write_down(&places, closing, audit, &raise, kept));
        let written = self.answering(&status, timeout(OWN_DISK, &mut writing)).await;
        let late = written.is_err();
        if let Ok(written) = written {
            record = written.unwrap_or(record);
            self.publish(&record);
        } else {
            self.tell_before_it_is_written(&mut record, &status, async { drop(writing.await) }).await;
        }
        book.end_guard().await;
        crash::step(Step::Verdict);
        let unfinished = cycle.unfinished();
        // Who hears the verdict may begin the next cycle at once. A cycle that came to no guard holds the lock for it.
        drop(cycle);
        drop(lock);
        if !late {
            let _ = self.speaker.say(Say::Record(Box::new(record.clone()))).await;
        }
        self.tell_who_waits(&record);
        (record.exit, unfinished)
    }

    /// The agent may have frozen our own disk and wait for this answer before it lets it go on. Whoever asks from here on is
    /// told at once, until everything is written.
    async fn tell_before_it_is_written(
        &mut self,
        record: &mut Record,
        status: &impl Fn() -> control::Status,
        written: impl Future<Output = ()>,
    ) {
        let what = format!("our own disk has not answered for {} seconds.", OWN_DISK.as_secs());
        let warning = Fault::new(NOT_WRITTEN, Exit::Inconsistent, what)
            .done("Nothing waits for it; the cycle's record is written, and the cycle over, as soon as it answers.");
        record.warnings.push(warning.next("let the filesystem of the state directory go on, if it is frozen"));
        self.publish(record);
        let mut told = self.speaker.say(Say::Record(Box::new(record.clone()))).await;
        tokio::pin!(written);
        loop {
            told |= self.tell_who_waits(record);
            if self.answering_one(status, written.as_mut()).await.is_some() {
                break;
            }
        }
        if told {
            let places = self.places.clone();
            let _ = tokio::task::spawn_blocking(move || places.forget_unclaimed()).await;
        }
    }

    fn publish(&self, record: &Record) {
        let (cycle, verdict, kind, exit) = (&record.cycle, record.verdict, record.kind, record.exit);
        let head = &record.head;
        let data = serde_json::json!({ "cycle": cycle, "verdict": verdict, "kind": kind, "exit": exit, "head": head });
        self.events.publish("cycle.verdict", None, data);
        self.events.end();
    }

    /// Whether anybody heard it.
    fn tell_who_waits(&mut self, record: &Record) -> bool {
        let tell = |reply: oneshot::Sender<Say>| reply.send(Say::Record(Box::new(record.clone()))).is_ok();
        self.waiting.drain(..).map(tell).fold(false, |told, heard| told | heard)
    }

    /// Does something, and answers meanwhile.
    async fn answering<T>(&mut self, status: &impl Fn() -> control::Status, what: impl Future<Output = T>) -> T {
        tokio::pin!(what);
        loop {
            if let Some(done) = self.answering_one(status, what.as_mut()).await {
                return done;
            }
        }
    }

    /// Answers one question, or gives what `done` gives.
    async fn answering_one<T>(
        &mut self,
        status: &impl Fn() -> control::Status,
        done: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            done = done => return Some(done),
            Some(what) = self.asked.recv() => match what {
                Asked::Thaw(reply) => self.waiting.push(reply),
                Asked::Status(reply) => drop(reply.send(Say::Status(status()))),
                // It thaws already.
                Asked::AgentThaws | Asked::AgentsCommandFailed | Asked::AgentAbandons | Asked::AgentLost => {}
            },
        }
        None
    }
}

/// Everything that is written once nothing stands still any more. On a thread that may block: our own disk may be frozen
/// by the agent. Gives the record with what went wrong meanwhile.
fn write_down(
    places: &Places,
    closing: io::Result<Closing>,
    audit: Option<audit::Writing>,
    raise: &[(String, Raise)],
    mut record: Record,
) -> Record {
    if let Err(e) = closing.and_then(Closing::write) {
        let what = format!("the ledger's closing lines could not be written: {e}.");
        let fault = Fault::new("SP-CYCLE-008", Exit::Internal, what);
        record.faults.push(fault.next("run  stillpoint recover  once the disk can be written again"));
    }
    crash::step(Step::Closed);
    let passed = |name: &str| record.workloads.iter().any(|w| w.name == name && w.verdict != Verdict::Failed);
    let raised = raise.iter().filter(|(name, _)| passed(name)).try_for_each(|(_, raise)| raise.write());
    record.faults.extend(raised.err().map(|fault| fault.done("The snapshot is as good as the verdict says.")));
    match audit.map(|a| a.finish()) {
        Some(Ok(head)) => record.head = Some(head),
        Some(Err(e)) => record.faults.push(audit::not_written(&e)),
        None => {}
    }
    if let Err(e) = keep_record(places, &record).and_then(|()| crash::may_fail(Step::Recorded)) {
        let what = format!("the cycle's record could not be written: {e}.");
        record.faults.push(Fault::new("SP-CYCLE-014", Exit::Internal, what).next("see whether the disk is full"));
    }
    control::end(places);
    record
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
                    Asked::AgentsCommandFailed => return (Release::CommandFailed, None),
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
                Asked::AgentsCommandFailed => return (Release::CommandFailed, None),
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
    match disk::lock_within(&places.lock(), ENDING) {
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
