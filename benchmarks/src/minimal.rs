//! The least that could do the same: one thread, the same client, the same statements in the same order, the same file
//! written at the same place. No ledger, no module, no second process, no deadline, and no way back if it fails.
//!
//! It runs in a process of its own, as the keeper does.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cycle::{Times, microseconds};

/// All that it needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The client program and its arguments.
    pub client: Vec<String>,
    /// Asked while everybody writes.
    pub before: Vec<Statement>,
    /// `BACKUP STAGE START`: stops no application.
    pub start: Vec<Statement>,
    /// `BACKUP STAGE BLOCK_COMMIT`, and what reads the recovery point.
    pub freeze: Vec<Statement>,
    /// The proof that it was held, and `BACKUP STAGE END`.
    pub thaw: Vec<Statement>,
    /// The file that is written while everything stands still.
    pub file: PathBuf,
    /// Where the data lies.
    pub data: PathBuf,
    /// Whether its filesystem is synced once more while everything stands still.
    pub sync: bool,
    /// The snapshot.
    pub snapshot: String,
}

/// A statement, without its end, and the connection that runs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Statement {
    /// Only tells one from the other.
    pub connection: u64,
    /// One line.
    pub text: String,
}

/// How the statement of a tag begins.
pub const TAG: &str = "SELECT 'stillpoint-";

/// How large the host makes the file of the recovery point.
const SIZE: usize = 4096;

/// Runs one cycle.
pub fn run(plan: &Plan) -> io::Result<Times> {
    let mut sessions = Sessions(BTreeMap::new());
    for statement in plan.before.iter().chain(&plan.start) {
        if let Entry::Vacant(place) = sessions.0.entry(statement.connection) {
            place.insert(Session::open(plan)?);
        }
    }
    sessions.run(&plan.before)?;
    let file = prepare(&plan.file)?;
    sync(&plan.data)?;
    let started = Instant::now();
    sessions.run(&plan.start)?;

    let stopped = Instant::now();
    let point = sessions.run(&plan.freeze)?;
    file.write_all_at(&padded(&point), 0)?;
    file.sync_data()?;
    if plan.sync {
        sync(&plan.data)?;
    }

    let (frozen, frozen_at) = (Instant::now(), Timestamp::now());
    let snapshot = Command::new(&plan.snapshot).status()?;

    let released = Instant::now();
    sessions.run(&plan.thaw)?;
    let thawed = Instant::now();

    sessions.0.into_values().try_for_each(Session::close)?;
    if !snapshot.success() {
        return Err(io::Error::other(format!("{} ended with {snapshot}", plan.snapshot)));
    }
    Ok(Times {
        standstill_us: microseconds(thawed - stopped),
        frozen_us: microseconds(thawed - started),
        freeze_us: microseconds(frozen - stopped),
        hold_us: microseconds(released - frozen),
        thaw_us: microseconds(thawed - released),
        frozen_at_us: frozen_at.as_microsecond(),
    })
}

/// Makes the file at its full size, on disk.
fn prepare(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    file.write_all_at(&padded(""), 0)?;
    file.sync_all()?;
    File::open(path.parent().unwrap_or(path))?.sync_all()?;
    Ok(file)
}

fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(SIZE, b' ');
    bytes
}

fn sync(data: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(data)?)?)
}

struct Sessions(BTreeMap<u64, Session>);

impl Sessions {
    /// Runs them one after the other. Gives all rows.
    fn run(&mut self, statements: &[Statement]) -> io::Result<String> {
        let mut rows = String::new();
        for statement in statements {
            let session = self.0.get_mut(&statement.connection);
            rows += &session.ok_or(io::ErrorKind::NotConnected)?.run(&statement.text)?;
        }
        Ok(rows)
    }
}

/// A client over pipes.
struct Session {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    tags: u64,
}

impl Session {
    fn open(plan: &Plan) -> io::Result<Session> {
        // In a process session of its own, as the host's clients are: the kernel shares out its time by these.
        let mut command = Command::new("/usr/bin/setsid");
        command.args(&plan.client).env_clear().env("LC_ALL", "C.UTF-8").env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a pipe is missing"));
        };
        Ok(Session { child, stdin, stdout: BufReader::new(stdout), tags: 0 })
    }

    /// Sends a statement and reads what comes before the tag.
    fn run(&mut self, text: &str) -> io::Result<String> {
        self.tags += 1;
        // As long as the host's.
        let ask = format!("{TAG}{:032}-{}'", 0, self.tags);
        let tag = ask.trim_start_matches("SELECT ").trim_matches('\'');
        self.stdin.write_all(format!("{text};\n{ask};\n").as_bytes())?;
        let mut answer = String::new();
        loop {
            let before = answer.len();
            if self.stdout.read_line(&mut answer)? == 0 {
                return Err(io::Error::other(format!("the client ended: {}", self.words())));
            }
            if answer[before..].trim_end() == tag {
                answer.truncate(before);
                return Ok(answer);
            }
        }
    }

    fn words(&mut self) -> String {
        let mut words = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut words);
        }
        words
    }

    /// Ends the client, which must have had nothing to complain about.
    fn close(self) -> io::Result<()> {
        drop(self.stdin);
        let said = self.child.wait_with_output()?;
        if said.status.success() && said.stderr.is_empty() {
            Ok(())
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&said.stderr).into_owned()))
        }
    }
}
