//! The engine from the keeper's side: a process of its own that runs one module and asks over one socket pair.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use stillpoint_contract::message::{self, Broken, Failure, FromEngine, Outcome, Phase, Plan, ToEngine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{Instant, timeout_at};

use crate::broker::Broker;
use crate::fault::{Exit, Fault};
use crate::sys::launch::{Launch, spawn};

/// How long the engine may be late with saying that a module ran too long.
const GRACE: Duration = Duration::from_millis(200);

/// How long compiling a module may take.
const COMPILE: Duration = Duration::from_secs(60);

/// A running engine.
pub struct Engine {
    child: Child,
    socket: UnixStream,
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

/// Starts an engine and gives it its module.
///
/// # Errors
/// `SP-ENGINE-001`: no engine. `SP-ENGINE-002`: the module cannot be used.
pub async fn start(workload: &str, component: &[u8], memory: u64) -> Result<Engine, Fault> {
    let fault = |what: String| {
        Fault::new("SP-ENGINE-001", Exit::Internal, format!("the engine could not be started: {what}.")).of(workload)
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(|e| fault(e.to_string()))?;
    ours.set_nonblocking(true).map_err(|e| fault(e.to_string()))?;
    let program = program().map_err(|e| fault(e.to_string()))?;
    let launch = Launch {
        program,
        arguments: Vec::new(),
        ids: None,
        keep: Vec::new(),
        parent: std::process::id().cast_signed(),
        group: None,
    };
    let child = spawn(&launch, OwnedFd::from(theirs).into(), Stdio::null(), Stdio::null(), &[])
        .map_err(|e| fault(e.to_string()))?;
    let socket = UnixStream::from_std(ours).map_err(|e| fault(e.to_string()))?;
    let mut engine = Engine { child, socket, lost: false };
    let deadline = Instant::now() + COMPILE;
    let said = timeout_at(deadline, async {
        engine.say(&ToEngine::Load { component: component.to_vec(), memory }).await?;
        engine.hear().await
    })
    .await;
    match said {
        Ok(Ok(FromEngine::Ready)) => Ok(engine),
        Ok(Ok(FromEngine::Unfit(why))) => {
            Err(Fault::new("SP-ENGINE-002", Exit::Untrusted, format!("its module cannot be used: {why}."))
                .of(workload)
                .done("Nothing was frozen."))
        }
        Ok(Ok(_)) => Err(fault("it spoke out of turn".into())),
        Ok(Err(e)) => Err(fault(e.to_string())),
        Err(_) => Err(fault("compiling the module took longer than a minute".into())),
    }
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
        let ended = timeout_at(deadline + GRACE, async {
            self.say(&ToEngine::Call { phase, plan: plan.clone(), budget }).await.map_err(gone)?;
            loop {
                match self.hear().await.map_err(gone)? {
                    FromEngine::Request(request) => {
                        let reply = broker.answer(request).await;
                        self.say(&ToEngine::Reply(reply)).await.map_err(gone)?;
                    }
                    FromEngine::Notice(notice) => broker.notice(notice),
                    FromEngine::Done(Ok(outcome)) => return Ok(outcome),
                    FromEngine::Done(Err(failure)) => return Err(Stopped::Failed(failure)),
                    FromEngine::Broken(broken) => return Err(Stopped::Broken(broken)),
                    FromEngine::Ready | FromEngine::Unfit(_) => {
                        return Err(Stopped::Gone("it spoke out of turn".into()));
                    }
                }
            }
        })
        .await
        .unwrap_or(Err(Stopped::Broken(Broken::TooLong)));
        if matches!(ended, Ok(_) | Err(Stopped::Failed(_))) {
            self.lost = false;
        } else {
            self.kill();
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

    async fn say(&mut self, what: &ToEngine) -> io::Result<()> {
        self.socket.write_all(&message::frame(what)?).await
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
        message::decode(&body)
    }
}
