//! The guard: a second process that thaws when the keeper cannot. [`Guard`] is what the keeper holds of it; the process
//! itself is [`process`].
//!
//! Every undo is told to it before its freeze is sent, so it needs no file when it fires. Keeper and guard watch each
//! other: a guard that is gone is replaced before anything more is frozen, and told again what is armed.

pub mod packet;
pub mod process;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use packet::{AtHand, LONGEST, Packet};
use process::Start;

use crate::sys::scope;

/// How long the guard may take to answer: opening its sessions, and everything else.
const AT_HAND: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(2);

/// How long is waited for what a guard has said that is gone.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How long handing over may take: a little longer than the guard itself goes on trying.
const HAND_OVER: Duration = Duration::from_secs(90);

/// The guard of a running cycle, from the keeper's side.
#[derive(Debug)]
pub struct Guard {
    start: Start,
    at_hand: Vec<AtHand>,
    lock: File,
    running: Running,
    deadline: Option<Duration>,
    frozen: Vec<u8>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    socket: UnixDatagram,
    /// Of the last question.
    number: u32,
}

impl Guard {
    /// Starts a guard and waits until it has everything at hand. It shares the lock, so nobody begins another cycle
    /// while it thaws.
    ///
    /// # Errors
    /// In words: what it could not open, or why there is none.
    pub async fn start(start: Start, at_hand: Vec<AtHand>, lock: &File) -> io::Result<Guard> {
        let lock = lock.try_clone()?;
        let running = begin(&start, &at_hand, &lock).await?;
        Ok(Guard { start, at_hand, lock, running, deadline: None, frozen: Vec::new() })
    }

    /// Tells it something and waits until it has taken that in. A guard that is gone is replaced first; `armed` is what
    /// the new one must know.
    ///
    /// # Errors
    /// When no guard can be told.
    pub async fn tell(&mut self, what: &Packet<'_>, armed: &[String]) -> io::Result<()> {
        match self.running.ask(what, ANSWER).await {
            Ok(_) => {}
            // It lives, and refuses.
            Err(e) if e.kind() == io::ErrorKind::Other => return Err(e),
            Err(_) => {
                self.replace(armed).await?;
                self.running.ask(what, ANSWER).await?;
            }
        }
        match what {
            Packet::Deadline(at) => self.deadline = Some(*at),
            Packet::Freezing(which) => self.frozen.push(*which),
            Packet::Thawed(which) => self.frozen.retain(|f| f != which),
            _ => {}
        }
        Ok(())
    }

    /// Puts another guard in the place of one that is gone.
    ///
    /// # Errors
    /// When none can be started.
    pub async fn replace(&mut self, armed: &[String]) -> io::Result<()> {
        let _ = self.running.child.start_kill();
        let _ = timeout(ANSWER, self.running.child.wait()).await;
        self.running = begin(&self.start, &self.at_hand, &self.lock).await?;
        for line in armed {
            self.running.ask(&Packet::Armed(line.as_bytes()), ANSWER).await?;
        }
        for which in &self.frozen {
            self.running.ask(&Packet::Freezing(*which), ANSWER).await?;
        }
        if let Some(at) = self.deadline {
            self.running.ask(&Packet::Deadline(at), ANSWER).await?;
        }
        Ok(())
    }

    /// Tells it that something was undone, without waiting. False when there is no room: then it must be told later.
    pub fn undone(&self, line: &str) -> bool {
        match self.running.socket.try_send(&unanswered(&Packet::Undone(line.as_bytes()))) {
            Ok(_) => true,
            // Who is gone needs no telling: its successor learns what is armed.
            Err(e) => e.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Whether it answers: then it has taken in all that it was told before.
    pub async fn answers(&mut self) -> bool {
        self.running.ask(&Packet::Asked, ANSWER).await.is_ok()
    }

    /// Tells it that the keeper thaws, and must have done so at this time since boot. Never waits.
    pub fn releases(&self, until: Duration) {
        // One that does not hear it ends a keeper that thaws, and thaws itself.
        let _ = self.running.socket.try_send(&unanswered(&Packet::Releasing(until)));
    }

    /// Whether it survives what ends our own unit. Known once it has everything at hand.
    pub fn is_apart(&self) -> bool {
        self.running.child.id().is_none_or(scope::is_apart)
    }

    /// Waits until the guard is gone.
    pub async fn is_gone(&mut self) {
        let _ = self.running.child.wait().await;
    }

    /// Has it take back what is armed. Gives the numbers of the entries that it could not. It writes down what it did, and
    /// ends, as soon as the disk allows that.
    pub async fn hand_over(&mut self) -> Option<Vec<u32>> {
        let said = self.running.ask(&Packet::HandOver, HAND_OVER).await;
        let _ = timeout(ANSWER, self.running.child.wait()).await;
        serde_json::from_slice(&said.ok()?).ok()
    }

    /// Nothing is armed any more: waits until it has ended, and with it its hold of the lock.
    pub async fn end(mut self) {
        let _ = self.running.ask(&Packet::End, HAND_OVER).await;
        if timeout(ANSWER, self.running.child.wait()).await.is_err() {
            let _ = self.running.child.kill().await;
        }
    }
}

impl Running {
    /// Gives what follows the `+`.
    async fn ask(&mut self, what: &Packet<'_>, longest: Duration) -> io::Result<Vec<u8>> {
        self.number = self.number.wrapping_add(1);
        let number = self.number.to_le_bytes();
        let bytes = [&number, what.encode().as_slice()].concat();
        if bytes.len() > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "longer than the guard takes"));
        }
        let answered = async {
            self.socket.send(&bytes).await?;
            heard(&self.socket, number).await
        };
        let answer = tokio::select! {
            biased;
            answered = timeout(longest, answered) => answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??,
            ended = self.child.wait() => {
                let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
                // One that ends as it should has answered before.
                let last = timeout(LAST_WORDS, heard(&self.socket, number)).await;
                last.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
                    .map_err(|e| io::Error::new(e.kind(), format!("the guard is gone: {how}")))?
            }
        };
        match answer.split_first() {
            Some((b'+', said)) => Ok(said.to_vec()),
            Some((b'-', why)) => Err(io::Error::other(String::from_utf8_lossy(why).into_owned())),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the guard is not understood")),
        }
    }
}

/// The answer to this question. One to a question that was given up is not taken for it.
async fn heard(socket: &UnixDatagram, number: [u8; 4]) -> io::Result<Vec<u8>> {
    let mut answer = [0; 16 * 1024];
    loop {
        let length = socket.recv(&mut answer).await?;
        if let Some(words) = answer.get(..length).and_then(|a| a.strip_prefix(&number)) {
            return Ok(words.to_vec());
        }
    }
}

/// What is told without an answer has no number.
fn unanswered(what: &Packet<'_>) -> Vec<u8> {
    [&[0; 4], what.encode().as_slice()].concat()
}

/// One that is being started: given up half-way, it is ended.
struct Starting(Option<Running>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(running) = &mut self.0 {
            let _ = running.child.start_kill();
        }
    }
}

/// Starts one. It leaves our unit by itself.
async fn begin(start: &Start, at_hand: &[AtHand], lock: &File) -> io::Result<Running> {
    let mut starting = Starting(Some(spawn(start, lock)?));
    if let Some(running) = &mut starting.0 {
        for part in at_hand {
            running.ask(&Packet::AtHand(&serde_json::to_vec(part)?), AT_HAND).await?;
        }
    }
    starting.0.take().ok_or_else(|| io::Error::other("there is no guard"))
}

fn spawn(start: &Start, lock: &File) -> io::Result<Running> {
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("guard").arg(serde_json::to_string(start)?);
    command.env_clear().env("LC_ALL", "C.UTF-8");
    // Nothing is printed on the lock; it is only held.
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::from(lock.try_clone()?)).stderr(Stdio::null());
    command.process_group(0).kill_on_drop(false);
    Ok(Running { child: command.spawn()?, socket: UnixDatagram::from_std(ours)?, number: 0 })
}
