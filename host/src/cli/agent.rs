//! The command's side of the connection to its keeper.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Context, internal};
use crate::fault::{Exit, Fault};
use crate::keeper::Start;
use crate::keeper::control::{Ask, Say};
use crate::sys::process;

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
        let (places, config, unsigned) = (context.places.clone(), context.config.clone(), context.unsigned);
        let start = Start { places, config, tied, unsigned };
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
        ask(&mut self.stream, what);
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

    /// Asks a keeper that was found, and waits for its answer, `longest` at most. `None` when it is gone.
    ///
    /// # Errors
    /// `SP-CYCLE-013`: it is there and does not answer.
    pub fn answer(&mut self, what: Ask, longest: Duration) -> Result<Option<Say>, Fault> {
        // A wait that cannot be bounded is no reason not to ask.
        let _ = self.stream.set_read_timeout(Some(longest));
        self.ask(what);
        loop {
            match self.lines.next() {
                None => return Ok(None),
                Some(Ok(line)) => {
                    if let Ok(said) = serde_json::from_str(&line) {
                        return Ok(Some(said));
                    }
                }
                Some(Err(e)) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    return Err(self.silent());
                }
                Some(Err(_)) => return Ok(None),
            }
        }
    }

    fn silent(&self) -> Fault {
        let fault = Fault::new("SP-CYCLE-013", Exit::NotThawed, "the keeper is there and does not answer.")
            .done("SOMETHING MAY STILL STAND STILL.");
        match process::peer(&self.stream) {
            Some(pid) => fault.next(format!("kill -9 {pid} , then  stillpoint recover")),
            None => fault.next("end the process  stillpoint keeper , then  stillpoint recover"),
        }
    }

    /// Hears on a thread of its own: a handle to ask with, and what is said. The queue ends when the keeper is gone.
    ///
    /// # Errors
    /// When the system gives no second handle.
    pub fn listen(mut self) -> std::io::Result<(UnixStream, mpsc::UnboundedReceiver<Say>)> {
        let (send, receive) = mpsc::unbounded_channel();
        let asker = self.stream.try_clone()?;
        std::thread::spawn(move || {
            while let Some(said) = self.hear() {
                if send.send(said).is_err() {
                    return;
                }
            }
        });
        Ok((asker, receive))
    }
}

/// Asks over a handle of [`Agent::listen`].
pub fn ask(stream: &mut UnixStream, what: Ask) {
    let mut line = serde_json::to_vec(&what).unwrap_or_default();
    line.push(b'\n');
    // A keeper that is gone shows when it is heard no more.
    let _ = stream.write_all(&line);
}
