//! The fake database server: see the library's `fake`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use stillpoint_tests::fake::{
    BEGUN, FakeError, FakeFault, KILLED, LOCK_WAIT, MOUNTED, Misbehaviour, NO_LOGIN, NO_SESSION, NOT_BEGUN, SYNTAX,
    TEST_USER, WANTED,
};

const HELP: &str = "usage: fake-server FOLDER [OPTION …]

Listens on FOLDER/socket and ends with its standard input. Statements:

  SELECT 'text' | SESSION | SESSIONS | IDENTITY | DATADIR | VERSION | DURABLE | STATE
  WRITE number           appends a row to FOLDER/rows; waits while anything stops writes
  SELECT ROWS            how many rows there are
  SET LOCK WAIT ms       how long LOCK of this session waits (5000)
  LOCK, UNLOCK           stops the writes of others; ends with the session         (session)
  SELECT LOCKED          whether this session holds the lock
  PAUSE ms, RESUME       stops writes until then; SELECT PAUSED                    (expires)
  SET READONLY 0|1       stops writes; in memory; SELECT READONLY                  (server)
  BEGIN, END BACKUP      stops nothing; FOLDER/backup; SELECT BACKUP. A start that
                         finds it only mounts: END BACKUP opens the server         (disk)
  SUSPEND, RESUME DISK   stops writes; FOLDER/suspended; SELECT SUSPENDED          (disk)
  SELECT FROZEN          everything that is frozen, in words
  KILL session           ends a session and what it holds

Options:

  --logins-hang-while-frozen   a login waits until nothing is frozen; not of a server that is only mounted
  --logins-fail-while-frozen   the same, but refused
  --never-durable              SELECT DURABLE answers 0

Files: FOLDER/received.log, one line for each statement but WRITE and SELECT 'text': nanoseconds of CLOCK_BOOTTIME,
session, text. FOLDER/faults/*, each one line that asks for a misbehaviour:
  once|always fail|fail-afterwards|slow=MS|hang|crash-before|crash-after STATEMENT";

#[derive(Default)]
struct Options {
    logins_hang: bool,
    logins_fail: bool,
    never_durable: bool,
}

struct Server {
    folder: PathBuf,
    options: Options,
    identity: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    sessions: BTreeMap<u64, Session>,
    last: u64,
    locked_by: Option<u64>,
    paused_until: Option<Instant>,
    readonly: bool,
    backup: bool,
    suspended: bool,
    mounted: bool,
    rows: File,
    row_count: u64,
    received: File,
}

struct Session {
    user: String,
    stream: UnixStream,
}

/// What only the thread of a session knows.
struct Own {
    id: u64,
    lock_wait: Duration,
}

type Answer = Result<Vec<String>, FakeError>;

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut folder = None;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--logins-hang-while-frozen" => options.logins_hang = true,
            "--logins-fail-while-frozen" => options.logins_fail = true,
            "--never-durable" => options.never_durable = true,
            path if !path.starts_with('-') && folder.is_none() => folder = Some(PathBuf::from(path)),
            _ => {
                eprintln!("{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let Some(folder) = folder else {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    };
    let socket = folder.join("socket");
    let _ = std::fs::remove_file(&socket);
    let server = Arc::new(Server::new(folder, options));
    let listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o777)).unwrap();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    for stream in listener.incoming().flatten() {
        let server = Arc::clone(&server);
        std::thread::spawn(move || server.serve(stream));
    }
    ExitCode::SUCCESS
}

/// Nanoseconds of the clock that also counts while the machine sleeps.
fn now() -> i128 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap();
    i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
}

fn crash() -> ! {
    let _ = kill(nix::unistd::Pid::this(), Signal::SIGKILL);
    std::process::abort()
}

fn text(value: &str) -> Vec<String> {
    vec![format!("'{}'", value.replace('\'', "''"))]
}

fn flag(value: bool) -> Vec<String> {
    vec![u8::from(value).to_string()]
}

impl State {
    fn is_paused(&self) -> bool {
        self.paused_until.is_some_and(|until| until > Instant::now())
    }

    fn stops_writes(&self) -> bool {
        self.locked_by.is_some() || self.is_paused() || self.readonly || self.suspended
    }

    fn frozen(&self) -> Vec<&'static str> {
        let all = [
            ("lock", self.locked_by.is_some()),
            ("pause", self.is_paused()),
            ("readonly", self.readonly),
            ("backup", self.backup),
            ("suspended", self.suspended),
        ];
        all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
    }
}

impl Server {
    fn new(folder: PathBuf, options: Options) -> Server {
        let append = |name: &str| OpenOptions::new().create(true).append(true).open(folder.join(name)).unwrap();
        let backup = folder.join("backup").exists();
        let rows = std::fs::read(folder.join("rows")).unwrap_or_default();
        let state = State {
            sessions: BTreeMap::new(),
            last: 0,
            locked_by: None,
            paused_until: None,
            readonly: false,
            backup,
            suspended: folder.join("suspended").exists(),
            mounted: backup,
            rows: append("rows"),
            row_count: u64::try_from(rows.iter().filter(|b| **b == b'\n').count()).unwrap(),
            received: append("received.log"),
        };
        let identity = format!("{}-{}", std::process::id(), now());
        Server { folder, options, identity, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has changed, at most until then.
    fn wait<'s>(&self, state: MutexGuard<'s, State>, until: Option<Instant>) -> MutexGuard<'s, State> {
        let Some(until) = until else { return self.changed.wait(state).unwrap_or_else(PoisonError::into_inner) };
        let left = until.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    fn serve(&self, stream: UnixStream) {
        let Ok(mut answers) = stream.try_clone() else { return };
        let mut own = Own { id: 0, lock_wait: Duration::from_secs(5) };
        let mut user = None;
        for line in BufReader::new(&stream).lines() {
            let Ok(line) = line else { break };
            let at = now();
            if own.id == 0 {
                let mut state = self.state();
                state.last += 1;
                own.id = state.last;
            }
            if !line.starts_with("WRITE ") && !line.starts_with("SELECT '") {
                let _ = self.state().received.write_all(format!("{at} {} {line}\n", own.id).as_bytes());
            }
            let is_login = user.is_none();
            let user = user.get_or_insert_with(|| line.strip_prefix("LOGIN ").unwrap_or_default().to_owned());
            let misbehaves = !(is_login && user == TEST_USER);
            let answer = self.answer(&mut own, &line, misbehaves, |server, own| {
                if is_login { server.login(own, user, &stream) } else { server.execute(own, &line) }
            });
            let ends = match &answer {
                Ok(_) => false,
                Err(error) => is_login || error.code == KILLED,
            };
            let said = match answer {
                Ok(rows) => rows.iter().map(|row| format!("row {row}\n")).chain(["done\n".into()]).collect(),
                Err(error) => format!("error {} {}\n", error.code, error.message),
            };
            if answers.write_all(said.as_bytes()).is_err() || ends {
                break;
            }
        }
        self.end(own.id);
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// Does it, or what the test wants instead.
    fn answer(
        &self,
        own: &mut Own,
        statement: &str,
        misbehaves: bool,
        does: impl FnOnce(&Server, &mut Own) -> Answer,
    ) -> Answer {
        let wanted = || Err(FakeError::new(WANTED, "this error was asked for"));
        match self.fault(statement).filter(|_| misbehaves) {
            None => does(self, own),
            Some(Misbehaviour::Fail) => wanted(),
            Some(Misbehaviour::FailAfterwards) => does(self, own).and_then(|_| wanted()),
            Some(Misbehaviour::Slow(time)) => {
                std::thread::sleep(time);
                does(self, own)
            }
            Some(Misbehaviour::Hang) => {
                let mut state = self.state();
                // A login is no session yet, so nobody can end it.
                while statement.starts_with("LOGIN ") || state.sessions.contains_key(&own.id) {
                    state = self.wait(state, None);
                }
                Err(killed())
            }
            Some(Misbehaviour::CrashBefore) => crash(),
            Some(Misbehaviour::CrashAfter) => {
                let _ = does(self, own);
                crash()
            }
        }
    }

    /// What is asked for about this statement. Who removes the file of one that is asked for once has claimed it.
    fn fault(&self, statement: &str) -> Option<Misbehaviour> {
        if statement.starts_with("SELECT '") {
            return None;
        }
        for entry in std::fs::read_dir(self.folder.join("faults")).into_iter().flatten().flatten() {
            let fault = std::fs::read_to_string(entry.path()).ok().and_then(|line| FakeFault::parse(&line));
            let Some(fault) = fault.filter(|f| f.meets(statement)) else { continue };
            if !fault.once || std::fs::remove_file(entry.path()).is_ok() {
                return Some(fault.what);
            }
        }
        None
    }

    fn login(&self, own: &Own, user: &str, stream: &UnixStream) -> Answer {
        if user.is_empty() {
            return Err(FakeError::new(SYNTAX, "a session begins with LOGIN"));
        }
        let mut state = self.state();
        while user != TEST_USER && !state.mounted && !state.frozen().is_empty() {
            if self.options.logins_fail {
                return Err(FakeError::new(NO_LOGIN, "no logins while anything is frozen"));
            }
            if !self.options.logins_hang {
                break;
            }
            let until = state.paused_until;
            state = self.wait(state, until.filter(|u| *u > Instant::now()));
        }
        let stream = stream.try_clone().map_err(|e| FakeError::new(NO_LOGIN, e.to_string()))?;
        state.sessions.insert(own.id, Session { user: user.into(), stream });
        Ok(Vec::new())
    }

    /// A session is over, and with it what it held.
    fn end(&self, id: u64) -> bool {
        let mut state = self.state();
        let session = state.sessions.remove(&id);
        if state.locked_by == Some(id) {
            state.locked_by = None;
        }
        self.changed.notify_all();
        if let Some(session) = &session {
            let _ = session.stream.shutdown(Shutdown::Read);
        }
        session.is_some()
    }

    fn execute(&self, own: &mut Own, statement: &str) -> Answer {
        if let Some(literal) = statement.strip_prefix("SELECT '").and_then(|s| s.strip_suffix('\'')) {
            return Ok(vec![format!("'{literal}'")]);
        }
        let words: Vec<&str> = statement.split(' ').collect();
        let mut state = self.state();
        if !state.sessions.contains_key(&own.id) {
            return Err(killed());
        }
        match words.as_slice() {
            ["SELECT", "SESSION"] => return Ok(vec![own.id.to_string()]),
            ["SELECT", "SESSIONS"] => {
                return Ok(state.sessions.iter().map(|(id, s)| format!("{id},'{}'", s.user)).collect());
            }
            ["SELECT", "IDENTITY"] => return Ok(text(&self.identity)),
            ["SELECT", "STATE"] => return Ok(text(if state.mounted { "MOUNTED" } else { "OPEN" })),
            ["SELECT", "FROZEN"] => return Ok(text(&state.frozen().join(" "))),
            ["SELECT", "BACKUP"] => return Ok(flag(state.backup)),
            ["SELECT", "SUSPENDED"] => return Ok(flag(state.suspended)),
            ["END", "BACKUP"] => {
                self.flag_on_disk("backup", false)?;
                (state.backup, state.mounted) = (false, false);
                self.changed.notify_all();
                return Ok(Vec::new());
            }
            ["RESUME", "DISK"] => {
                self.flag_on_disk("suspended", false)?;
                state.suspended = false;
                self.changed.notify_all();
                return Ok(Vec::new());
            }
            ["KILL", id] => {
                let id = integer(id)?;
                drop(state);
                let known = self.end(id);
                return if known { Ok(Vec::new()) } else { Err(FakeError::new(NO_SESSION, "no such session")) };
            }
            _ if state.mounted => {
                return Err(FakeError::new(MOUNTED, "the server is mounted and not open: END BACKUP opens it"));
            }
            ["SELECT", "DATADIR"] => return Ok(text(&self.folder.to_string_lossy())),
            ["SELECT", "VERSION"] => return Ok(text("1.0-fake")),
            ["SELECT", "DURABLE"] => return Ok(flag(!self.options.never_durable)),
            ["SELECT", "ROWS"] => return Ok(vec![state.row_count.to_string()]),
            ["SELECT", "LOCKED"] => return Ok(flag(state.locked_by == Some(own.id))),
            ["SELECT", "PAUSED"] => return Ok(flag(state.is_paused())),
            ["SELECT", "READONLY"] => return Ok(flag(state.readonly)),
            ["SET", "LOCK", "WAIT", time] => own.lock_wait = Duration::from_millis(integer(time)?),
            ["UNLOCK"] => {
                if state.locked_by == Some(own.id) {
                    state.locked_by = None;
                }
            }
            ["LOCK"] => return self.lock(own, state),
            ["WRITE", number] => return self.write(own, integer(number)?, state),
            ["PAUSE", time] => state.paused_until = Some(Instant::now() + Duration::from_millis(integer(time)?)),
            ["RESUME"] => state.paused_until = None,
            ["SET", "READONLY", "0"] => state.readonly = false,
            ["SET", "READONLY", "1"] => state.readonly = true,
            ["BEGIN", "BACKUP"] => {
                self.flag_on_disk("backup", true)?;
                state.backup = true;
            }
            ["SUSPEND", "DISK"] => {
                self.flag_on_disk("suspended", true)?;
                state.suspended = true;
            }
            _ => return Err(FakeError::new(SYNTAX, format!("no statement of the fake server: {statement}"))),
        }
        self.changed.notify_all();
        Ok(Vec::new())
    }

    fn lock(&self, own: &Own, mut state: MutexGuard<'_, State>) -> Answer {
        let until = Instant::now() + own.lock_wait;
        while state.locked_by.is_some_and(|other| other != own.id) {
            if Instant::now() >= until {
                return Err(FakeError::new(LOCK_WAIT, "lock wait timeout exceeded"));
            }
            state = self.wait(state, Some(until));
            if !state.sessions.contains_key(&own.id) {
                return Err(killed());
            }
        }
        state.locked_by = Some(own.id);
        Ok(Vec::new())
    }

    fn write(&self, own: &Own, number: u64, mut state: MutexGuard<'_, State>) -> Answer {
        while state.stops_writes() {
            let until = state.paused_until.filter(|u| *u > Instant::now());
            state = self.wait(state, until);
            if !state.sessions.contains_key(&own.id) {
                return Err(killed());
            }
        }
        let written = state.rows.write_all(format!("{number}\n").as_bytes()).and_then(|()| state.rows.sync_data());
        written.map_err(|e| FakeError::new(WANTED, e.to_string()))?;
        state.row_count += 1;
        Ok(Vec::new())
    }

    /// Makes or removes the file, on disk before this returns.
    fn flag_on_disk(&self, name: &str, set: bool) -> Result<(), FakeError> {
        let path = self.folder.join(name);
        let done = if set {
            OpenOptions::new().write(true).create_new(true).open(&path).map(drop)
        } else {
            std::fs::remove_file(&path)
        };
        done.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => FakeError::new(BEGUN, format!("{name} was begun already")),
            std::io::ErrorKind::NotFound => FakeError::new(NOT_BEGUN, format!("{name} was not begun")),
            _ => FakeError::new(WANTED, e.to_string()),
        })?;
        File::open(&self.folder).and_then(|f| f.sync_all()).map_err(|e| FakeError::new(WANTED, e.to_string()))
    }
}

fn killed() -> FakeError {
    FakeError::new(KILLED, "another session has ended this one")
}

fn integer(word: &str) -> Result<u64, FakeError> {
    word.parse().map_err(|_| FakeError::new(SYNTAX, format!("no number: {word}")))
}
