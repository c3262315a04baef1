//! The messaging channel: newline-delimited JSON in the form of CloudEvents 1.0, on a Unix socket, for any number of
//! listeners. Nothing that a listener does slows the cycle: each has a bounded queue, and what does not fit is counted
//! and told in one record.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::audit::{Audit, Digest, What};

/// How many events a listener may be behind, and how many a new one is told of the past.
const BEHIND: usize = 256;

/// The channel of one cycle. Clones speak on the same one.
#[derive(Clone, Debug)]
pub struct Events(Rc<Channel>);

#[derive(Debug)]
struct Channel {
    cycle: String,
    sequence: Cell<u64>,
    past: RefCell<VecDeque<Rc<str>>>,
    listeners: RefCell<Vec<Listener>>,
    audit: OnceCell<Audit>,
}

#[derive(Debug)]
struct Listener {
    queue: mpsc::Sender<Rc<str>>,
    missed: u64,
}

impl Events {
    /// A channel that nobody listens to yet.
    pub fn new(cycle: &str) -> Events {
        Events(Rc::new(Channel {
            cycle: cycle.into(),
            sequence: Cell::new(0),
            past: RefCell::default(),
            listeners: RefCell::default(),
            audit: OnceCell::new(),
        }))
    }

    /// From here on the audit record tells of each.
    pub fn recorded_in(&self, audit: &Audit) {
        let _ = self.0.audit.set(audit.clone());
    }

    /// Publishes `dev.stillpoint.<kind>.v1`. Never waits.
    pub fn publish(&self, kind: &str, workload: Option<&str>, data: Value) {
        if let Some(audit) = self.0.audit.get() {
            let text = data["text"].as_str().filter(|_| kind.starts_with("module."));
            let text_sha256 = text.map(|t| Digest::of(t.to_owned()));
            audit.push(What::Event { event: kind.into(), workload: workload.map(str::to_owned), text_sha256 });
        }
        let line = self.line(kind, workload, data);
        let mut past = self.0.past.borrow_mut();
        if past.len() == BEHIND {
            past.pop_front();
        }
        past.push_back(Rc::clone(&line));
        self.0.listeners.borrow_mut().retain_mut(|listener| {
            if listener.missed > 0 {
                let gap = self.line("channel.gap", None, json!({ "missed": listener.missed }));
                if listener.queue.try_send(gap).is_ok() {
                    listener.missed = 0;
                }
            }
            match listener.queue.try_send(Rc::clone(&line)) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    listener.missed += 1;
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
    }

    fn line(&self, kind: &str, workload: Option<&str>, data: Value) -> Rc<str> {
        let sequence = self.0.sequence.get() + 1;
        self.0.sequence.set(sequence);
        let mut event = json!({
            "specversion": "1.0",
            "id": format!("{}/{sequence}", self.0.cycle),
            "source": "/stillpoint",
            "type": format!("dev.stillpoint.{kind}.v1"),
            "time": Timestamp::now().to_string(),
            "datacontenttype": "application/json",
            "data": data,
        });
        if let Some(workload) = workload {
            event["subject"] = workload.into();
        }
        format!("{event}\n").into()
    }

    /// A queue that is told the past first.
    pub fn listen(&self) -> mpsc::Receiver<Rc<str>> {
        let (queue, receiver) = mpsc::channel(2 * BEHIND);
        for line in self.0.past.borrow().iter() {
            let _ = queue.try_send(Rc::clone(line));
        }
        self.0.listeners.borrow_mut().push(Listener { queue, missed: 0 });
        receiver
    }

    /// Ends every queue once it is empty.
    pub fn end(&self) {
        self.0.listeners.borrow_mut().clear();
    }

    /// Serves listeners on a socket until the task is dropped. Must run inside a `LocalSet`.
    ///
    /// # Errors
    /// What binding the socket gives.
    pub fn serve(&self, path: &Path) -> io::Result<()> {
        let _ = std::fs::remove_file(path);
        let socket = UnixListener::bind(path)?;
        let events = self.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = socket.accept().await {
                tokio::task::spawn_local(tell(stream, events.listen()));
            }
        });
        Ok(())
    }
}

/// A listener that does not read for this long is let go.
const PATIENCE: Duration = Duration::from_secs(30);

async fn tell(mut stream: UnixStream, mut queue: mpsc::Receiver<Rc<str>>) {
    while let Some(line) = queue.recv().await {
        match tokio::time::timeout(PATIENCE, stream.write_all(line.as_bytes())).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}
