//! What the keeper hears and says: one JSON object on a line, over the connection of the command that started it and
//! over a socket for everybody else of the same user.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::places::Places;
use crate::cycle::book::Book;
use crate::cycle::record::Record;
use crate::events::Events;
use crate::fault::Fault;

/// What is asked of a keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// The snapshot is cut.
    Thaw,
    /// The command that was to cut the snapshot has failed: there may be none.
    CommandFailed,
    /// There will be no snapshot: thaw.
    Abandon,
    /// What stands still?
    Status,
}

/// What a keeper says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Say {
    /// One line of the messaging channel.
    Event(serde_json::Value),
    /// Nothing was begun.
    Refused(Vec<Fault>),
    /// Everything stands still: snapshot now.
    Frozen(Status),
    /// What stands still.
    Status(Status),
    /// It is over.
    Record(Box<Record>),
}

/// What stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cycle.
    pub cycle: String,
    /// Whether everything stands still that shall: until then the agent must not snapshot.
    pub complete: bool,
    /// The workloads of which something stands still.
    pub frozen: Vec<String>,
    /// Those that could not be frozen, where the configuration goes on without them.
    #[serde(default)]
    pub failed: Vec<Fault>,
    /// Until when at most, in milliseconds from now.
    pub left_ms: Option<u64>,
}

impl Status {
    /// What is held now, after the ledger.
    pub fn now(cycle: &str, book: &Book, limit: Duration) -> Status {
        let left = book.first_freeze().map(|f| (f + limit).saturating_duration_since(tokio::time::Instant::now()));
        Status {
            cycle: cycle.into(),
            complete: false,
            frozen: book.holding(),
            failed: Vec::new(),
            left_ms: left.map(|l| u64::try_from(l.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// A question that reached the keeper's loop.
#[derive(Debug)]
pub enum Asked {
    /// Over the socket.
    Thaw(oneshot::Sender<Say>),
    /// Over the socket.
    Status(oneshot::Sender<Say>),
    /// By the command that started it.
    AgentThaws,
    /// By the command that started it: its own command has failed.
    AgentsCommandFailed,
    /// By the command that started it: there will be no snapshot.
    AgentAbandons,
    /// The command that started it is gone.
    AgentLost,
}

/// The connection to the command that started the keeper.
#[derive(Clone)]
pub struct Speaker(Rc<Mutex<Option<OwnedWriteHalf>>>);

impl Speaker {
    /// Listens on it from here on.
    pub fn new(stream: UnixStream, asks: mpsc::Sender<Asked>) -> Speaker {
        let (read, write) = stream.into_split();
        tokio::task::spawn_local(async move {
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let asked = match serde_json::from_str(&line) {
                    Ok(Ask::Thaw) => Asked::AgentThaws,
                    Ok(Ask::CommandFailed) => Asked::AgentsCommandFailed,
                    Ok(Ask::Abandon) => Asked::AgentAbandons,
                    Ok(Ask::Status) | Err(_) => continue,
                };
                let _ = asks.send(asked).await;
            }
            let _ = asks.send(Asked::AgentLost).await;
        });
        Speaker(Rc::new(Mutex::new(Some(write))))
    }

    /// Says it, and waits for no longer than a second. False when nobody can hear it.
    pub async fn say(&self, what: Say) -> bool {
        let mut held = self.0.lock().await;
        let Some(write) = held.as_mut() else { return false };
        let said = matches!(timeout(Duration::from_secs(1), write_line(write, what)).await, Ok(Ok(())));
        if !said {
            *held = None;
        }
        said
    }

    /// Passes the cycle's events on, as one more listener.
    pub fn tell_events(&self, events: &Events) {
        let (mut queue, speaker) = (events.listen(), self.clone());
        tokio::task::spawn_local(async move {
            while let Some(line) = queue.recv().await {
                if let Ok(event) = serde_json::from_str(&line) {
                    speaker.say(Say::Event(event)).await;
                }
            }
        });
    }
}

async fn write_line(write: &mut OwnedWriteHalf, what: Say) -> io::Result<()> {
    let mut line = serde_json::to_vec(&what)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// Answers on a socket that only this user can reach: its folder is closed to others.
///
/// # Errors
/// What binding the socket gives.
pub fn serve(path: &Path, asks: mpsc::Sender<Asked>, open: Rc<Cell<usize>>) -> io::Result<()> {
    let _ = std::fs::remove_file(path);
    let socket = UnixListener::bind(path)?;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let (asks, open) = (asks.clone(), Rc::clone(&open));
            open.set(open.get() + 1);
            tokio::task::spawn_local(async move {
                answer(stream, asks).await;
                open.set(open.get() - 1);
            });
        }
    });
    Ok(())
}

async fn answer(stream: UnixStream, asks: mpsc::Sender<Asked>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(ask) = serde_json::from_str::<Ask>(&line) else { return };
        let (reply, answer) = oneshot::channel();
        let asked = match ask {
            Ask::Thaw => Asked::Thaw(reply),
            // Only who started the cycle knows that there will be no snapshot.
            Ask::CommandFailed | Ask::Abandon => return,
            Ask::Status => Asked::Status(reply),
        };
        if asks.send(asked).await.is_err() {
            return;
        }
        let Ok(what) = answer.await else { return };
        let last = matches!(what, Say::Record(_));
        if write_line(&mut write, what).await.is_err() || last {
            return;
        }
    }
}

/// Takes the sockets away. Who is connected stays so.
pub fn end(places: &Places) {
    let _ = std::fs::remove_file(places.control());
    let _ = std::fs::remove_file(places.run.join("events.sock"));
}

/// Gives listeners a moment to read the verdict, and who asked for it some seconds.
pub async fn drain(open: &Cell<usize>) {
    let mut left = 100;
    tokio::time::sleep(Duration::from_millis(50)).await;
    while open.get() > 0 && left > 0 {
        left -= 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
