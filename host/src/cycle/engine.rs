//! The engine from the keeper's side: a process of its own that runs one module and asks over one socket pair.
//!
//! It is taken for an intruder: it speaks when it is its turn and about as often as a module may, nothing it says is kept
//! before it was measured, and each wait for it has a deadline. Whatever else it does ends it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use stillpoint_contract::manifest::Interface;
use stillpoint_contract::message::{
    self, Broken, Failure, FromEngine, Landlock, Outcome, Phase, Plan, Reply, StatementError, ToEngine,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{Instant, timeout_at};

use crate::broker::Broker;
use crate::compiled::{Compiled, Store};
use crate::fault::{Exit, Fault};
use crate::sys::cgroup;
use crate::sys::launch::{Launch, spawn};
use crate::sys::sealed::sealed;
use crate::sys::walls::{self, Walls};

/// How long the engine may be late with saying that a module ran too long.
const GRACE: Duration = Duration::from_millis(200);

/// How long compiling a module may take.
const COMPILE: Duration = Duration::from_secs(60);

/// How long what was compiled is looked for, or written.
const KEEP: Duration = Duration::from_secs(5);

/// What an engine may write to besides its module's memory, in bytes: itself; what compiling takes for each byte of a
/// component; what loading takes for each byte of an artefact, which is there twice for a moment, and what is told of it.
const ROOM: u64 = 64 * 1024 * 1024;
const ROOM_FOR_BYTE: u64 = 32;
const ROOM_FOR_ARTEFACT: u64 = 3;

/// The most requests of one phase. Each is answered before the next, so a module that only asks needs half a minute.
const MOST_REQUESTS: u32 = 1_000_000;

/// A running engine.
pub struct Engine {
    child: Child,
    socket: UnixStream,
    /// Walls that this machine does not have, for people.
    missing: Vec<&'static str>,
    /// Set while a call is open: a call that was dropped leaves the engine where nobody knows.
    lost: bool,
}

/// Why a phase did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// The module said why.
    Failed(Failure),
    /// The module broke.
    Broken(Broken),
    /// The engine itself is gone.
    Gone(String),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stopped::Failed(Failure { text, error: None }) => write!(f, "{text}"),
            Stopped::Failed(Failure { text, error: Some(e) }) => {
                let e = e.to_string();
                if text.contains(&e) { write!(f, "{text}") } else { write!(f, "{text}: {e}") }
            }
            Stopped::Broken(Broken::Trapped(why)) => write!(f, "the module trapped: {why}"),
            Stopped::Broken(Broken::TooLong) => write!(f, "the module ran longer than it may"),
            Stopped::Broken(Broken::TooMuchMemory) => write!(f, "the module wanted more memory than it may have"),
            Stopped::Gone(why) => write!(f, "the engine is gone: {why}"),
        }
    }
}

/// A component that may be run: verified.
#[derive(Debug, Clone, Copy)]
pub struct Component<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Their SHA-256, in hexadecimal.
    pub digest: &'a str,
    /// The interfaces that it is given: those of its signed manifest.
    pub imports: &'a [Interface],
}

/// Starts an engine and, once the walls round it stand, gives it its module: as it was compiled and kept in an earlier
/// cycle, else compiled now.
///
/// With it comes, in words, why nothing could be kept for the next cycle, if nothing could.
///
/// # Errors
/// `SP-ENGINE-001`: no engine. `SP-ENGINE-002`: the module cannot be used. `SP-ENGINE-004`: a wall does not stand.
pub async fn start(
    workload: &str,
    component: Component<'_>,
    memory: u64,
    store: &Store,
) -> Result<(Engine, Option<String>), Fault> {
    if let Some(found) = find(store, component.digest).await
        && let Some(engine) = run(workload, &found, memory, component.imports).await?
    {
        return Ok((engine, None));
    }
    let (compiled, not_kept) = compile(workload, component, store).await?;
    match run(workload, &compiled, memory, component.imports).await? {
        Some(engine) => Ok((engine, not_kept)),
        None => Err(no_engine(workload, "it cannot load what it has compiled itself")),
    }
}

/// Compiles a component, in an engine of its own, and keeps what came of it in the place of what was kept.
///
/// With it comes, in words, why it could not be kept, if it could not.
///
/// # Errors
/// `SP-ENGINE-001`: no engine. `SP-ENGINE-002`: the module cannot be used. `SP-ENGINE-004`: a wall does not stand.
pub async fn compile(
    workload: &str,
    component: Component<'_>,
    store: &Store,
) -> Result<(Compiled, Option<String>), Fault> {
    let failed = |e: io::Error| no_engine(workload, &e.to_string());
    let size = component.bytes.len() as u64;
    let deadline = Instant::now() + COMPILE;
    let mut engine = walled(workload, component.bytes, ROOM + ROOM_FOR_BYTE * size, deadline).await?;
    let compiling = timeout_at(deadline, async {
        engine.say(&ToEngine::Compile { size, imports: component.imports.to_vec() }).await?;
        match engine.hear().await? {
            FromEngine::Compiled { size: artefact, compatibility } if artefact <= message::longest_artefact(size) => {
                let artefact = engine.hear_bytes(artefact).await?;
                // Whatever more it would say is not heard: it ends here.
                engine.kill();
                Ok(Ok(Compiled { compatibility, artefact }))
            }
            other => Ok(Err(other)),
        }
    });
    let compiled = match compiling.await.map_err(|_| late(workload))?.map_err(failed)? {
        Ok(compiled) => compiled,
        Err(FromEngine::Unfit(why)) => return Err(unfit(workload, &why)),
        Err(FromEngine::Compiled { .. }) => return Err(no_engine(workload, "it said more than it may")),
        Err(_) => return Err(no_engine(workload, "it spoke out of turn")),
    };
    let (into, digest, kept) = (store.clone(), component.digest.to_owned(), compiled.clone());
    // The disk may stand still, and needs not be waited for.
    let keeping = tokio::task::spawn_blocking(move || into.keep(&digest, &kept));
    let not_kept = match timeout_at(Instant::now() + KEEP, keeping).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(why))) => Some(why.to_string()),
        Ok(Err(_)) | Err(_) => Some("the disk does not answer".into()),
    };
    let words = |why| format!("what was compiled cannot be kept in {}: {why}", store.folder().display());
    Ok((compiled, not_kept.map(words)))
}

async fn find(store: &Store, digest: &str) -> Option<Compiled> {
    let (store, digest) = (store.clone(), digest.to_owned());
    let looking = tokio::task::spawn_blocking(move || store.find(&digest));
    timeout_at(Instant::now() + KEEP, looking).await.ok()?.ok()?
}

/// An engine that runs this; `None` where the artefact is not for this engine.
async fn run(workload: &str, compiled: &Compiled, memory: u64, imports: &[Interface]) -> Result<Option<Engine>, Fault> {
    let Compiled { compatibility, artefact } = compiled;
    let size = artefact.len() as u64;
    let deadline = Instant::now() + COMPILE;
    let mut engine = walled(workload, artefact, memory + ROOM + ROOM_FOR_ARTEFACT * size, deadline).await?;
    let said = timeout_at(deadline, async {
        let (imports, compatibility) = (imports.to_vec(), *compatibility);
        engine.say(&ToEngine::Load { size, memory, imports, compatibility }).await?;
        engine.hear().await
    });
    match said.await.map_err(|_| late(workload))?.map_err(|e| no_engine(workload, &e.to_string()))? {
        FromEngine::Ready => Ok(Some(engine)),
        FromEngine::Stale => Ok(None),
        FromEngine::Unfit(why) => Err(unfit(workload, &why)),
        _ => Err(no_engine(workload, "it spoke out of turn")),
    }
}

/// An engine with this content in its sealed file, once the walls round it stand. It was told nothing yet.
async fn walled(workload: &str, content: &[u8], memory: u64, deadline: Instant) -> Result<Engine, Fault> {
    let failed = |e: io::Error| no_engine(workload, &e.to_string());
    let wall = |which: &str| {
        let what = format!("the module was not run, because its engine could not be walled in: {which}.");
        Fault::new("SP-ENGINE-004", Exit::Internal, what)
            .of(workload)
            .done("Nothing was frozen.")
            .next("run stillpoint as root of the machine itself, or as a user without any privilege")
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let launch = Launch {
        program: program().map_err(failed)?,
        arguments: Vec::new(),
        environment: std::collections::BTreeMap::new(),
        ids: None,
        keep: Vec::new(),
        parent: std::process::id().cast_signed(),
        group: None,
        walls: Some(Walls { memory }),
    };
    // Its standard output, so that it needs no number and no other descriptor; nothing can be written there.
    let file = sealed(content, 0, 0).map_err(failed)?;
    let child = spawn(&launch, OwnedFd::from(theirs).into(), file.into(), Stdio::null(), &[]).map_err(failed)?;
    let socket = UnixStream::from_std(ours).map_err(failed)?;
    let mut engine = Engine { child, socket, missing: Vec::new(), lost: false };
    match timeout_at(deadline, engine.hear()).await.map_err(|_| late(workload))?.map_err(failed)? {
        FromEngine::Walled(landlock) => engine.missing = not_there(landlock),
        FromEngine::Unwalled(which) => return Err(wall(&which)),
        _ => return Err(no_engine(workload, "it spoke out of turn")),
    }
    // It says so; the kernel knows. Nothing of the module was given to it yet.
    let pid = engine.child.id().ok_or_else(|| no_engine(workload, "it ended"))?;
    let missing = walls::missing(pid).map_err(failed)?;
    if missing.is_empty() { Ok(engine) } else { Err(wall(&missing.join(", "))) }
}

fn no_engine(workload: &str, why: &str) -> Fault {
    let what = format!("the engine could not be started: {why}.");
    Fault::new("SP-ENGINE-001", Exit::Internal, what).of(workload).done("Nothing was frozen.")
}

fn late(workload: &str) -> Fault {
    no_engine(workload, "it took longer than a minute")
}

fn unfit(workload: &str, why: &str) -> Fault {
    Fault::new("SP-ENGINE-002", Exit::Untrusted, format!("its module cannot be used: {why}."))
        .of(workload)
        .done("Nothing was frozen.")
}

/// The walls that this kernel or this user cannot give. Every other one stands.
fn not_there(landlock: Landlock) -> Vec<&'static str> {
    let mut out = Vec::new();
    if !rustix::process::geteuid().is_root() {
        out.push("the engine shares your user id: only root can give it one of its own");
    }
    match landlock {
        Landlock::Whole => {}
        Landlock::Partly => out.push("the engine has landlock only in part: this kernel's is older than Linux 6.12"),
        Landlock::Missing => out.push("the engine has no landlock: this kernel has none"),
    }
    out
}

/// The engine's program: beside this one, or where packages put it.
fn program() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("stillpoint-engine");
    if beside.exists() {
        return Ok(beside);
    }
    let packaged = PathBuf::from("/usr/libexec/stillpoint/stillpoint-engine");
    if packaged.exists() {
        Ok(packaged)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "there is no stillpoint-engine beside stillpoint"))
    }
}

impl Engine {
    /// Runs one phase, answering what the module asks.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn call(
        &mut self,
        phase: Phase,
        plan: &Plan,
        deadline: Instant,
        broker: &mut Broker,
    ) -> Result<Outcome, Stopped> {
        if self.lost {
            return Err(Stopped::Gone("it did not come back from the call before".into()));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let budget = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        broker.enter(phase, deadline);
        self.lost = true;
        let gone = |e: io::Error| Stopped::Gone(e.to_string());
        let (mut requests, mut notices) = (MOST_REQUESTS, message::MOST_NOTICES);
        let ended = timeout_at(deadline + GRACE, async {
            self.is_silent()?;
            self.say(&ToEngine::Call { phase, plan: plan.clone(), budget }).await.map_err(gone)?;
            loop {
                match self.hear().await.map_err(gone)? {
                    FromEngine::Request(request) => {
                        count(&mut requests)?;
                        if !broker.offers(&request) {
                            return Err(out_of_turn());
                        }
                        let reply = broker.answer(request).await;
                        self.is_silent()?;
                        self.reply(reply).await.map_err(gone)?;
                    }
                    FromEngine::Notice(notice) => {
                        count(&mut notices)?;
                        broker.notice(notice);
                    }
                    FromEngine::Done(Ok(outcome)) => return Ok(outcome),
                    FromEngine::Done(Err(failure)) => return Err(Stopped::Failed(failure)),
                    FromEngine::Broken(broken) => return Err(Stopped::Broken(broken)),
                    FromEngine::Walled(_)
                    | FromEngine::Unwalled(_)
                    | FromEngine::Compiled { .. }
                    | FromEngine::Ready
                    | FromEngine::Stale
                    | FromEngine::Unfit(_) => return Err(out_of_turn()),
                }
            }
        })
        .await
        .unwrap_or(Err(Stopped::Broken(Broken::TooLong)));
        match &ended {
            Ok(_) | Err(Stopped::Failed(_)) => self.lost = false,
            // It rests, and is not asked again: it is ended with the cycle. The undo comes first.
            Err(Stopped::Broken(Broken::Trapped(_) | Broken::TooMuchMemory)) => {}
            Err(_) => self.kill(),
        }
        ended
    }

    /// Whether it can still be called.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Ends it.
    pub fn kill(&mut self) {
        self.lost = true;
        let _ = self.child.start_kill();
    }

    /// Whether it waits, as it must while it is the keeper's turn.
    fn is_silent(&self) -> Result<(), Stopped> {
        match recv(&self.socket, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 1..)) => Err(out_of_turn()),
            // Its end is heard where it is waited for.
            Ok((_, 0)) | Err(_) => Ok(()),
        }
    }

    async fn say(&mut self, what: &ToEngine) -> io::Result<()> {
        self.socket.write_all(&message::frame(what)?).await
    }

    async fn reply(&mut self, reply: Reply) -> io::Result<()> {
        let frame = match message::frame(&ToEngine::Reply(reply)) {
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                message::frame(&ToEngine::Reply(Reply::Rows(Err(StatementError::TooLarge))))?
            }
            other => other?,
        };
        self.socket.write_all(&frame).await
    }

    async fn hear(&mut self) -> io::Result<FromEngine> {
        let mut head = [0; 4];
        self.socket.read_exact(&mut head).await?;
        let length = message::length(head)?;
        if length > message::LONGEST_FROM_ENGINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it said more than it may"));
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).await?;
        let mut said: FromEngine = message::decode(&body)?;
        if said.cut() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it said more than it may"));
        }
        Ok(said)
    }

    /// This many bytes that follow a frame. Room is made as they come.
    async fn hear_bytes(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.socket).take(size).read_to_end(&mut bytes).await?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

fn out_of_turn() -> Stopped {
    Stopped::Gone("it spoke out of turn".into())
}

fn count(left: &mut u32) -> Result<(), Stopped> {
    *left = left.checked_sub(1).ok_or_else(|| Stopped::Gone("it said more than it may".into()))?;
    Ok(())
}

impl super::Cycle {
    /// The walls that are missing round an engine or a client of this cycle, for people.
    pub fn missing_walls(&self) -> Vec<&'static str> {
        let engines = self.runs.iter().filter_map(|r| r.engine.as_ref());
        let mut out: BTreeSet<_> = engines.flat_map(|e| e.missing.iter().copied()).collect();
        if !cgroup::can_be_made() {
            out.insert(
                "no control group (version 2) can be made: what a client starts and lets go is not ended with it",
            );
        }
        out.into_iter().collect()
    }
}
