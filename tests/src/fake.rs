//! A fake database server, for what no real one here can show: an effect of each lifetime (`session`, `expires`,
//! `server`, `disk`), and misbehaviour on demand.
//!
//! The programs are `fake-server` and `fake-client`, the module is `guests/fake`. It proves what Stillpoint does, and
//! nothing about a database: that takes MariaDB and SQLite.
//!
//! A session is a Unix socket. It begins with `LOGIN user`; then each line is one statement, and its answer is lines of
//! `row …` and at last `done` or `error CODE MESSAGE`. A login is answered in the same way.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::comparison::Row;
use crate::program::KillOnDrop;
use crate::site::Site;
use crate::writers::{Write, Writers};
use crate::{dist, wait_until};

/// Who tests log in as: such a login is never refused and never hangs.
pub const TEST_USER: &str = "test";

/// The server is gone. Said by the client.
pub const LOST: u32 = 2013;
/// Another session has ended this one.
pub const KILLED: u32 = 1927;
/// The lock was not free in time.
pub const LOCK_WAIT: u32 = 1205;
/// The server is up, but not open.
pub const MOUNTED: u32 = 1109;
/// There is no session of this number.
pub const NO_SESSION: u32 = 1094;
/// What is to be ended was not begun.
pub const NOT_BEGUN: u32 = 1142;
/// What is to be begun was begun already.
pub const BEGUN: u32 = 1146;
/// No such statement.
pub const SYNTAX: u32 = 1064;
/// No more logins.
pub const NO_LOGIN: u32 = 1040;
/// The test wanted an error.
pub const WANTED: u32 = 1105;

/// How long [`FakeServer::writes`] waits for a write.
const WRITES_WITHIN: Duration = Duration::from_secs(2);

/// Between two rows of a writer.
const NAP: Duration = Duration::from_millis(1);

/// The writer of the rows that are only written to see whether that works.
const PROBE: u32 = u32::MAX;

/// What the server, or the way to it, answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeError {
    /// One of the constants of this file.
    pub code: u32,
    /// For people.
    pub message: String,
}

impl FakeError {
    /// With these words.
    pub fn new(code: u32, message: impl Into<String>) -> FakeError {
        FakeError { code, message: message.into() }
    }
}

impl fmt::Display for FakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// One session, from the client's side.
#[derive(Debug)]
pub struct FakeSession {
    stream: BufReader<UnixStream>,
}

impl FakeSession {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`LOST`] when nobody listens, else what the login was answered.
    pub fn open(socket: &Path, user: &str) -> Result<FakeSession, FakeError> {
        let stream = UnixStream::connect(socket).map_err(lost)?;
        let mut out = FakeSession { stream: BufReader::new(stream) };
        out.run(&format!("LOGIN {user}"))?;
        Ok(out)
    }

    /// Runs a statement; gives its rows as `sqlite3 -quote` prints them.
    ///
    /// # Errors
    /// The server's, or [`LOST`].
    pub fn run(&mut self, statement: &str) -> Result<Vec<String>, FakeError> {
        self.stream.get_mut().write_all(format!("{statement}\n").as_bytes()).map_err(lost)?;
        let mut rows = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).map_err(lost)? == 0 {
                return Err(FakeError::new(LOST, "the fake server is gone"));
            }
            let line = line.trim_end_matches('\n');
            if line == "done" {
                return Ok(rows);
            } else if let Some(row) = line.strip_prefix("row ") {
                rows.push(row.to_owned());
            } else {
                let error = line.strip_prefix("error ").and_then(|e| e.split_once(' '));
                let error = error.and_then(|(code, message)| Some(FakeError::new(code.parse().ok()?, message)));
                return Err(error.unwrap_or_else(|| FakeError::new(LOST, format!("no answer but {line:?}"))));
            }
        }
    }
}

fn lost(error: std::io::Error) -> FakeError {
    FakeError::new(LOST, format!("the fake server is gone: {error}"))
}

/// What the server does instead of what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Answers with [`WANTED`], and does nothing.
    Fail,
    /// Does it, and answers with [`WANTED`].
    FailAfterwards,
    /// Does it after this time.
    Slow(Duration),
    /// Never answers, until the session is killed.
    Hang,
    /// Is killed before it does it.
    CrashBefore,
    /// Does it, and is killed before it answers.
    CrashAfter,
}

/// One misbehaviour that was asked for: a file of the server's folder `faults`, so that it outlasts a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeFault {
    /// What it does.
    pub what: Misbehaviour,
    /// The statements that begin with these words. `LOGIN` is one.
    pub statement: String,
    /// Only the first time; else always.
    pub once: bool,
}

impl FakeFault {
    /// The line of the file.
    pub fn line(&self) -> String {
        let what = match self.what {
            Misbehaviour::Fail => "fail".to_owned(),
            Misbehaviour::FailAfterwards => "fail-afterwards".to_owned(),
            Misbehaviour::Slow(time) => format!("slow={}", time.as_millis()),
            Misbehaviour::Hang => "hang".to_owned(),
            Misbehaviour::CrashBefore => "crash-before".to_owned(),
            Misbehaviour::CrashAfter => "crash-after".to_owned(),
        };
        format!("{} {what} {}", if self.once { "once" } else { "always" }, self.statement)
    }

    /// Reads the line of the file.
    pub fn parse(line: &str) -> Option<FakeFault> {
        let (once, rest) = line.trim_end().split_once(' ')?;
        let (what, statement) = rest.split_once(' ')?;
        let what = match what {
            "fail" => Misbehaviour::Fail,
            "fail-afterwards" => Misbehaviour::FailAfterwards,
            "hang" => Misbehaviour::Hang,
            "crash-before" => Misbehaviour::CrashBefore,
            "crash-after" => Misbehaviour::CrashAfter,
            slow => Misbehaviour::Slow(Duration::from_millis(slow.strip_prefix("slow=")?.parse().ok()?)),
        };
        let once = match once {
            "once" => true,
            "always" => false,
            _ => return None,
        };
        Some(FakeFault { what, statement: statement.to_owned(), once })
    }

    /// Whether this statement is meant.
    pub fn meets(&self, statement: &str) -> bool {
        statement.strip_prefix(&self.statement).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }
}

/// One statement that the server received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// When, in nanoseconds of `CLOCK_BOOTTIME`.
    pub at: u64,
    /// The number of the session.
    pub session: u64,
    /// Its text.
    pub text: String,
}

/// A server under way. Dropped, it is killed.
pub struct FakeServer {
    // First: the server must have ended before its folder goes.
    server: Option<KillOnDrop>,
    folder: TempDir,
    options: Vec<String>,
}

impl FakeServer {
    /// Starts one on a folder of its own, and waits until it answers.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn private() -> FakeServer {
        FakeServer::with(&[])
    }

    /// Starts one with options, which it keeps over a restart: see `fake-server --help`.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn with(options: &[&str]) -> FakeServer {
        // In memory where that is possible: no other program's disk is waited for.
        let under = Path::new("/dev/shm");
        let under = if under.is_dir() { under.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("fake").tempdir_in(under).unwrap();
        // Other users' clients connect to it.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::create_dir(folder.path().join("faults")).unwrap();
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        let mut out = FakeServer { server: None, folder, options };
        out.start();
        out
    }

    /// Starts it again, after [`FakeServer::stop`], [`FakeServer::kill`] or a crash that was asked for.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn start(&mut self) {
        self.server = None;
        let errors = std::fs::File::create(self.folder.path().join("errors")).unwrap();
        let mut command = Command::new(dist::program("fake-server"));
        command.arg(self.folder.path()).args(&self.options);
        // It ends with its standard input: no server outlives its test.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors);
        let mut server = KillOnDrop(command.spawn().unwrap());
        wait_until("the fake server answers", || {
            let ended = server.0.try_wait().unwrap();
            let said = std::fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default();
            assert!(ended.is_none(), "the fake server ended: {said}");
            self.session().is_ok()
        });
        self.server = Some(server);
    }

    /// Ends it with SIGTERM.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = Pid::from_raw(i32::try_from(server.0.id()).expect("a process id"));
            let _ = kill(pid, Signal::SIGTERM);
            wait_until("the fake server ends", || server.0.try_wait().unwrap().is_some());
        }
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Kills it and starts it again: what was only in its memory is gone.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// Its process id, while it was not ended by us.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().map(|s| s.0.id())
    }

    /// Whether it runs: it may have crashed, as it was told to.
    ///
    /// # Panics
    /// When the system does not know.
    pub fn runs(&mut self) -> bool {
        self.server.as_mut().is_some_and(|s| s.0.try_wait().unwrap().is_none())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A session of the test's own.
    ///
    /// # Errors
    /// [`LOST`].
    pub fn session(&self) -> Result<FakeSession, FakeError> {
        FakeSession::open(&self.socket(), TEST_USER)
    }

    /// Runs a statement in a session of its own; gives the rows as lines.
    ///
    /// # Errors
    /// The server's, or [`LOST`].
    pub fn try_sql(&self, statement: &str) -> Result<String, FakeError> {
        Ok(self.session()?.run(statement)?.join("\n"))
    }

    /// Runs a statement that must succeed; gives the rows as lines.
    ///
    /// # Panics
    /// When it fails.
    pub fn sql(&self, statement: &str) -> String {
        self.try_sql(statement).unwrap_or_else(|e| panic!("{statement}: {e}"))
    }

    /// Asks for a misbehaviour.
    ///
    /// # Panics
    /// When its file cannot be written.
    pub fn misbehave(&self, once: bool, what: Misbehaviour, statement: &str) {
        let fault = FakeFault { what, statement: statement.into(), once };
        let mut file = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        file.write_all(fault.line().as_bytes()).unwrap();
        let name = file.path().file_name().expect("a file has a name").to_owned();
        file.persist(self.folder.path().join("faults").join(name)).unwrap();
    }

    /// Ends all misbehaviour.
    ///
    /// # Panics
    /// When a file cannot be removed.
    pub fn behave(&self) {
        for entry in std::fs::read_dir(self.folder.path().join("faults")).unwrap() {
            // One that was asked for once may end just now.
            let _ = std::fs::remove_file(entry.unwrap().path());
        }
    }

    /// Whether a write succeeds soon.
    pub fn writes(&self) -> bool {
        let Ok(mut session) = self.session() else { return false };
        let _ = session.stream.get_ref().set_read_timeout(Some(WRITES_WITHIN));
        session.run(&format!("WRITE {}", number(PROBE, 1))).is_ok()
    }

    /// Everything that is frozen, in words: `lock pause readonly backup suspended`; empty when nothing is.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn frozen(&self) -> String {
        self.sql("SELECT FROZEN").trim_matches('\'').to_owned()
    }

    /// The flag that lives in its memory.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn readonly(&self) -> bool {
        self.sql("SELECT READONLY") == "1"
    }

    /// The flag that lives on its disk.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn backup(&self) -> bool {
        self.sql("SELECT BACKUP") == "1"
    }

    /// The sessions of others than the test.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn sessions(&self) -> usize {
        let all = self.sql("SELECT SESSIONS");
        all.lines().filter(|line| !line.ends_with(&format!("'{TEST_USER}'"))).count()
    }

    /// What it received in all its lives, but for `WRITE` and `SELECT '…'`.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn received(&self) -> Vec<Received> {
        let text = std::fs::read_to_string(self.folder.path().join("received.log")).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let (at, session) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some(Received { at, session, text: words.next()?.to_owned() })
        };
        text.lines().map(|l| line(l).unwrap_or_else(|| panic!("no line of the log: {l:?}"))).collect()
    }

    /// How often it received this statement.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn times_received(&self, statement: &str) -> usize {
        self.received().iter().filter(|r| r.text == statement).count()
    }

    /// Starts writers: each an open session, which writes row after row, with a nap between: nothing here costs what a
    /// commit costs, and writers that never rest would starve the machine.
    ///
    /// # Panics
    /// When one cannot connect.
    pub fn writers(&self, count: u32) -> Writers {
        Writers::start(count, |writer, _| {
            let mut session = self.session().unwrap();
            let write: Write = Box::new(move |sequence| {
                std::thread::sleep(NAP);
                session.run(&format!("WRITE {}", number(writer, sequence))).map(drop).map_err(|e| e.to_string())
            });
            write
        })
    }

    /// The rows of the writers.
    ///
    /// # Panics
    /// When there is a line that is no row.
    pub fn rows(&self) -> BTreeSet<Row> {
        rows(self.folder.path())
    }

    /// Stillpoint configured for it alone, with that section.
    pub fn site(&self, name: &str, timeout: u32) -> Site {
        let site = Site::with(&self.configuration(name, timeout));
        site.install_guest("fake");
        site
    }

    /// A section of the configuration for the module `fake`. The name says what it freezes: see `guests/fake`.
    ///
    /// # Panics
    /// When the client was not built.
    pub fn configuration(&self, name: &str, timeout: u32) -> String {
        format!(
            "[workload {name}]\nworkload_name = fake\ncommand_path = {}\ncredString = -u root -S {}\ntimeout = \
             {timeout}\n",
            dist::program("fake-client").parent().expect("a file in a folder").display(),
            self.socket().display()
        )
    }
}

/// The rows of the writers in this folder, or in a copy of it.
///
/// # Panics
/// When there is a line that is no row.
pub fn rows(folder: &Path) -> BTreeSet<Row> {
    let text = std::fs::read_to_string(folder.join("rows")).unwrap_or_default();
    let row = |line: &str| {
        let number: u64 = line.parse().unwrap_or_else(|_| panic!("no row: {line:?}"));
        (u32::try_from(number >> 32).expect("32 bits"), number & u64::from(u32::MAX))
    };
    text.lines().map(row).filter(|(writer, _)| *writer != PROBE).collect()
}

/// A row is one number.
fn number(writer: u32, sequence: u64) -> u64 {
    u64::from(writer) << 32 | sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misbehaviour_survives_its_file() {
        for what in [
            Misbehaviour::Fail,
            Misbehaviour::FailAfterwards,
            Misbehaviour::Slow(Duration::from_millis(700)),
            Misbehaviour::Hang,
            Misbehaviour::CrashBefore,
            Misbehaviour::CrashAfter,
        ] {
            for once in [true, false] {
                let fault = FakeFault { what, statement: "END BACKUP".into(), once };
                assert_eq!(FakeFault::parse(&fault.line()), Some(fault));
            }
        }
        assert_eq!(FakeFault::parse("twice fail X"), None);
    }

    #[test]
    fn a_misbehaviour_meets_whole_words() {
        let fault = FakeFault { what: Misbehaviour::Fail, statement: "SET READONLY".into(), once: true };
        assert!(fault.meets("SET READONLY 1") && fault.meets("SET READONLY"));
        assert!(!fault.meets("SET READONLYX") && !fault.meets("SELECT READONLY"));
    }
}
