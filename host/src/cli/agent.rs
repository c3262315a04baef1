//! The command's side of the connection to its keeper.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::{Context, internal};
use crate::fault::Fault;
use crate::keeper::Start;
use crate::keeper::control::{Ask, Say};

/// A keeper that was started, or found.
pub struct Agent {
    lines: std::io::Lines<BufReader<UnixStream>>,
    stream: UnixStream,
}

/// Starts a keeper. It leaves this process group for one of its own.
///
/// # Errors
/// When no process can be started.
pub fn start(context: &Context, tied: bool) -> Result<Agent, Fault> {
    let begin = || {
        let (ours, theirs) = UnixStream::pair()?;
        let start = Start { places: context.places.clone(), config: context.config.clone(), tied };
        let mut command = Command::new("/proc/self/exe");
        command.arg("keeper").arg(serde_json::to_string(&start)?);
        command.env_clear().env("LC_ALL", "C.UTF-8");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn()?;
        Agent::on(ours)
    };
    begin().map_err(|e: std::io::Error| internal(&format!("the keeper could not be started: {e}")))
}

/// The keeper that holds now, if there is one.
pub fn find(context: &Context) -> Option<Agent> {
    Agent::on(UnixStream::connect(context.places.control()).ok()?).ok()
}

impl Agent {
    fn on(stream: UnixStream) -> std::io::Result<Agent> {
        Ok(Agent { lines: BufReader::new(stream.try_clone()?).lines(), stream })
    }

    /// Asks; the answer comes by [`Agent::hear`].
    pub fn ask(&mut self, what: Ask) {
        let mut line = serde_json::to_vec(&what).unwrap_or_default();
        line.push(b'\n');
        // A keeper that is gone shows when it is heard no more.
        let _ = self.stream.write_all(&line);
    }

    /// A handle that another thread can ask with.
    pub fn asker(&self) -> std::io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// What the keeper says next; `None` when it is gone.
    pub fn hear(&mut self) -> Option<Say> {
        loop {
            let line = self.lines.next()?.ok()?;
            if let Ok(what) = serde_json::from_str(&line) {
                return Some(what);
            }
        }
    }
}
