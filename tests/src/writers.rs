//! Writers that never stop: each commits one row after the other and notes when it began and when it was acknowledged.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::program::KillOnDrop;
use crate::wait_until;

/// Commits the row with this sequence number, and returns when the database has acknowledged it.
pub type Write = Box<dyn FnMut(u64) -> Result<(), String> + Send>;

/// One commit, or the attempt at one. Instants are of the monotonic clock of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Who.
    pub writer: u32,
    /// 1, 2, 3 … of each writer.
    pub sequence: u64,
    /// Just before the statement was sent.
    pub begun: Instant,
    /// Just after the database had acknowledged it.
    pub acknowledged: Option<Instant>,
}

/// What all writers noted.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// In no order but each writer's own.
    pub commits: Vec<Commit>,
    /// What an application would have seen go wrong.
    pub errors: Vec<String>,
}

impl Log {
    /// The longest that any writer waited between two acknowledgements: the stall.
    pub fn longest_gap(&self) -> Duration {
        let mut last: std::collections::BTreeMap<u32, Instant> = std::collections::BTreeMap::new();
        let mut longest = Duration::ZERO;
        for commit in &self.commits {
            let Some(acknowledged) = commit.acknowledged else { continue };
            if let Some(before) = last.insert(commit.writer, acknowledged) {
                longest = longest.max(acknowledged - before);
            }
        }
        longest
    }

    /// How many commits were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.commits.iter().filter(|c| c.acknowledged.is_some()).count()
    }
}

/// Writers under way.
pub struct Writers {
    stop: Arc<AtomicBool>,
    /// Between two commits of one, in microseconds.
    rest: Arc<AtomicU64>,
    notes: Vec<Arc<Mutex<Log>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts as many; `open` connects each. It is given the flag that tells it to wait no more.
    pub fn start(count: u32, mut open: impl FnMut(u32, Arc<AtomicBool>) -> Write) -> Writers {
        let mut out = Writers { stop: Arc::default(), rest: Arc::default(), notes: Vec::new(), threads: Vec::new() };
        let all: Vec<Write> = (0..count).map(|writer| open(writer, Arc::clone(&out.stop))).collect();
        for (writer, write) in (0..).zip(all) {
            let notes = Arc::new(Mutex::new(Log::default()));
            out.notes.push(Arc::clone(&notes));
            let (stop, rest) = (Arc::clone(&out.stop), Arc::clone(&out.rest));
            out.threads.push(std::thread::spawn(move || keep_writing(writer, write, &stop, &rest, &notes)));
        }
        out
    }

    /// From here on each rests for so long between two commits, and leaves the machine to others.
    #[must_use]
    pub fn resting(self, between: Duration) -> Writers {
        self.rest.store(u64::try_from(between.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self
    }

    /// What was noted until now.
    pub fn log(&self) -> Log {
        let mut out = Log::default();
        for notes in &self.notes {
            let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            out.commits.extend_from_slice(&notes.commits);
            out.errors.extend_from_slice(&notes.errors);
        }
        out
    }

    /// Waits until each writer has had this many more commits acknowledged.
    ///
    /// # Panics
    /// When they do not get on, or see an error.
    pub fn get_on(&self, commits: usize) {
        let counts = || -> Vec<usize> {
            let count = |notes: &Arc<Mutex<Log>>| {
                let log = notes.lock().unwrap_or_else(PoisonError::into_inner);
                assert!(log.errors.is_empty(), "a writer saw errors: {:?}", log.errors);
                log.acknowledged()
            };
            self.notes.iter().map(count).collect()
        };
        let before = counts();
        wait_until("every writer gets on", || counts().iter().zip(&before).all(|(now, then)| now >= &(then + commits)));
    }

    /// Stops them, and gives what they noted.
    pub fn stop(mut self) -> Log {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.log()
    }
}

impl Drop for Writers {
    /// Does not wait for them: a test that failed may have left them standing still.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn keep_writing(writer: u32, mut write: Write, stop: &AtomicBool, rest: &AtomicU64, notes: &Mutex<Log>) {
    for sequence in 1.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match rest.load(Ordering::Relaxed) {
            0 => {}
            us => std::thread::sleep(Duration::from_micros(us)),
        }
        let begun = Instant::now();
        {
            let mut log = notes.lock().unwrap_or_else(PoisonError::into_inner);
            log.commits.push(Commit { writer, sequence, begun, acknowledged: None });
        }
        let done = write(sequence);
        let now = Instant::now();
        let mut log = notes.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Ok(()) => {
                if let Some(commit) = log.commits.last_mut() {
                    commit.acknowledged = Some(now);
                }
            }
            Err(_) if stop.load(Ordering::Relaxed) => return,
            Err(why) => {
                log.errors.push(format!("writer {writer}, commit {sequence}: {why}"));
                return;
            }
        }
    }
}

/// A writer that is an open client of a server, and commits row after row into this table. A row counts as acknowledged once
/// the statement behind it has answered.
///
/// # Panics
/// When the client cannot be started.
pub fn by_client(mut client: Command, table: &'static str, writer: u32) -> Write {
    let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut client = KillOnDrop(client);
    let mut stdin = client.0.stdin.take().expect("piped");
    let mut answers = BufReader::new(client.0.stdout.take().expect("piped")).lines();
    Box::new(move |sequence| {
        // An error of the first statement ends the client.
        let text = format!("INSERT INTO {table} VALUES ({writer}, {sequence}); SELECT {sequence};\n");
        stdin.write_all(text.as_bytes()).map_err(|e| e.to_string())?;
        match answers.next() {
            Some(Ok(line)) if line == sequence.to_string() => Ok(()),
            other => {
                let mut why = String::new();
                if let Some(stderr) = client.0.stderr.as_mut() {
                    let _ = stderr.read_to_string(&mut why);
                }
                Err(format!("{other:?} {why}"))
            }
        }
    })
}
