//! Everything that can break, broken: every step that the code names × who dies there × which database. What was frozen
//! is thawed, by itself while a guard lives and at the next `recover` otherwise, and no verdict is better than the truth.
//!
//! The full product takes long, so a covering selection runs by default: each step and each victim with each database.
//! All of it, with the table of what was tried:
//!
//! ```text
//! STILLPOINT_CRASH_POINTS=all cargo xtask test -p stillpoint-tests --test crash_points -- --nocapture
//! ```
//!
//! `STILLPOINT_CRASH_POINTS=keeper.armed,mariadb` runs those combinations whose words contain all of these (`!mariadb`: not that), and
//! `STILLPOINT_CRASH_POINTS_TABLE` names a file for the table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use stillpoint_tests::crash::{Agent, Process, Processes, soon};
use stillpoint_tests::fake::FakeServer;
use stillpoint_tests::loop_mount::{Kind, LoopMount};
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::writers::Writers;
use stillpoint_tests::{dist, missing};
use tempfile::TempDir;

/// How far a cycle has come. The order is the order of the cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// Neither engine nor client is started.
    Begun,
    /// Engines and clients are there.
    Checked,
    /// The guard is there, too; nothing is frozen.
    Guarded,
    /// The module freezes.
    Freezing,
    /// Everything stands still; the agent does not know it.
    Standing,
    /// The agent knows it.
    Told,
    /// The agent has asked to thaw; what was held is not proved.
    Released,
    /// It is proved, and still stands.
    Proved,
    /// Everything runs again; the guard is still there.
    Running,
    /// The guard has ended.
    Unguarded,
    /// The record is kept.
    Recorded,
    /// The keeper is dead, and the guard thaws.
    Firing,
    /// Keeper and guard are dead, and somebody recovers.
    Recovering,
}

use Moment::{
    Begun, Checked, Firing, Freezing, Guarded, Proved, Recorded, Recovering, Released, Running, Standing, Told,
    Unguarded,
};

/// Every step, when in the cycle it comes, and whether it can fail by itself.
const STEPS: [(&str, Moment, bool); 35] = [
    ("keeper.locked", Begun, false),
    ("keeper.ledger-begun", Begun, false),
    ("keeper.checked", Checked, false),
    ("keeper.guarded", Guarded, false),
    ("keeper.prepared", Freezing, false),
    ("keeper.arming", Freezing, true),
    ("keeper.written", Freezing, false),
    ("keeper.armed", Freezing, false),
    ("keeper.froze", Freezing, false),
    ("keeper.proved", Standing, true),
    ("keeper.pointed", Standing, false),
    ("keeper.all-frozen", Standing, false),
    ("keeper.filesystem-armed", Standing, true),
    ("keeper.filesystem-frozen", Standing, false),
    ("keeper.frozen", Standing, false),
    ("keeper.told", Told, false),
    ("keeper.released", Released, false),
    ("keeper.filesystem-thawed", Released, false),
    ("keeper.held-proved", Proved, false),
    ("keeper.undoing", Proved, true),
    ("keeper.undone", Proved, false),
    ("keeper.thawed", Running, false),
    ("keeper.closing", Running, false),
    ("keeper.closed", Unguarded, false),
    ("keeper.recorded", Recorded, true),
    ("keeper.verdict", Recorded, false),
    ("guard.armed", Freezing, false),
    ("guard.fires", Firing, false),
    ("guard.thawed-filesystems", Firing, false),
    ("guard.undoing", Firing, false),
    ("guard.undone", Firing, false),
    ("guard.closed", Firing, false),
    ("recovery.read", Recovering, false),
    ("recovery.undoing", Recovering, true),
    ("recovery.undone", Recovering, false),
];

/// What is done at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// Whoever comes to the step stops there, somebody is killed, and it goes on.
    Stop(Victim),
    /// Whoever comes to the step is killed by it.
    Kill,
    /// The step fails.
    Fail,
    /// Whoever comes to the step never goes on.
    Hang,
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Keeper,
    Engine,
    Guard,
    KeeperAndGuard,
    Client,
    Server,
    Command,
    Agent,
}

const VICTIMS: [Victim; 8] = [
    Victim::Keeper,
    Victim::Engine,
    Victim::Guard,
    Victim::KeeperAndGuard,
    Victim::Client,
    Victim::Server,
    Victim::Command,
    Victim::Agent,
];

/// What is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Database {
    Sqlite,
    MariaDb,
    /// The fake server; the name says with which effects.
    Fake(&'static str),
}

/// One effect of each lifetime, and all at once.
const FAKES: [&str; 5] = ["fake-session", "fake-expires", "fake-server", "fake-disk", "fake-suspend"];

impl Database {
    /// Whether all that it freezes ends with our session.
    fn ends_with_the_session(self) -> bool {
        !matches!(self, Database::Fake(name) if name != "fake-session")
    }

    /// Whether something is frozen in prepare already.
    fn begins_in_prepare(self) -> bool {
        matches!(self, Database::MariaDb | Database::Fake("fake-disk" | "fake-all"))
    }

    /// Whether it has a flag in the server's memory.
    fn has_a_flag(self) -> bool {
        matches!(self, Database::Fake("fake-server" | "fake-all"))
    }

    /// Whether it goes on writing while it is frozen.
    fn writes_on(self) -> bool {
        self == Database::Fake("fake-disk")
    }

    fn kind(self) -> &'static str {
        match self {
            Database::Sqlite => "sqlite",
            Database::MariaDb => "mariadb",
            Database::Fake(_) => "fake",
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Database::Fake(name) => f.pad(name),
            other => f.pad(other.kind()),
        }
    }
}

/// How the agent goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// `freeze`, the snapshot, `thaw`.
    FreezeThaw,
    /// `run -- the snapshot`.
    Run,
}

/// One combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Break {
    step: &'static str,
    moment: Moment,
    act: Act,
    database: Database,
    way: Way,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = match self.act {
            Act::Stop(victim) => format!("{victim:?} dies"),
            Act::Kill => "kills itself".into(),
            Act::Fail => "fails".into(),
            Act::Hang => "hangs".into(),
        };
        let way = if self.way == Way::Run { "run" } else { "freeze" };
        write!(f, "{:24} {act:19} {:12} {way:6}", self.step, self.database)
    }
}

/// How it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    /// The verdict is application-consistent; else it must be anything but that.
    consistent: bool,
    /// Everything runs again without `recover`.
    by_itself: bool,
    /// Whoever hangs is ended by nobody, because nothing of his stands still: the test ends him.
    by_hand: bool,
}

impl Break {
    /// Who is dead after it, or as good as dead.
    fn victim(self) -> Option<Victim> {
        match (self.act, self.moment) {
            (Act::Stop(Victim::Server), _) if self.database == Database::Sqlite => None,
            (Act::Stop(victim), _) => Some(victim),
            (Act::Fail, _) => None,
            (Act::Kill | Act::Hang, _) if self.step == "guard.armed" => Some(Victim::Guard),
            (Act::Kill | Act::Hang, Firing) => Some(Victim::Guard),
            (Act::Kill | Act::Hang, Recovering) => Some(Victim::Command),
            (Act::Kill | Act::Hang, _) => Some(Victim::Keeper),
        }
    }

    /// Whether the step is one before anything was armed on the guard's side.
    fn before_arming(self) -> bool {
        match self.step {
            "keeper.prepared" => !self.database.begins_in_prepare(),
            "keeper.arming" | "keeper.written" => true,
            _ => self.moment < Freezing,
        }
    }

    /// The truth about this combination.
    fn expected(self) -> Expected {
        let (moment, victim) = (self.moment, self.victim());
        let recovers = matches!(moment, Firing | Recovering);
        let consistent = !recovers
            && match (self.act, victim) {
                // A freeze that fails is no freeze; an undo or a record that fails comes after the proof.
                (Act::Fail, _) => moment >= Proved,
                (_, None | Some(Victim::Agent)) => true,
                // It is replaced; what it knew is told to the next.
                (_, Some(Victim::Guard)) => true,
                // The module is not needed once everything stands still, nor before it is loaded.
                (_, Some(Victim::Engine)) => moment == Begun || moment >= Standing,
                // The session is the hold, until it was proved.
                (_, Some(Victim::Client)) => moment == Begun || moment >= Proved,
                (_, Some(Victim::Server)) => moment >= Proved,
                // Who waits for "frozen" and dies will not thaw; `run` is waited for until it has said so.
                (_, Some(Victim::Command)) => moment >= if self.way == Way::Run { Released } else { Told },
                // What the keeper wrote down is told to who asks; `run` asked nobody else.
                (_, Some(Victim::Keeper | Victim::KeeperAndGuard)) => moment == Recorded && self.way == Way::FreezeThaw,
            };
        let nobody_left = match (moment, victim) {
            (Firing, victim) => matches!(victim, Some(Victim::Guard | Victim::KeeperAndGuard)),
            // Who recovers may be a guard, or the keeper of the next cycle, and tries once where nobody waits for it.
            (Recovering, Some(Victim::Guard)) => self.step != "recovery.read",
            (Recovering, Some(Victim::Command | Victim::Server)) => true,
            (Recovering, _) => self.act == Act::Fail,
            (_, victim) => victim == Some(Victim::KeeperAndGuard),
        };
        // The command that waits for the keeper alone recovers by itself; `run` waits for the snapshot first.
        let command_waits = !matches!(moment, Told | Firing | Recovering);
        let stands = !self.before_arming() && !matches!(moment, Running | Unguarded | Recorded);
        let by_itself = if self.act == Act::Hang {
            // Nobody guards the guard, nor who recovers.
            !stands || self.step == "guard.armed" || !recovers || self.database.ends_with_the_session()
        } else {
            !stands || !nobody_left || command_waits || self.database.ends_with_the_session()
        };
        let by_hand = self.act == Act::Hang
            && (recovers || !stands || self.step == "keeper.written")
            && self.step != "guard.armed";
        Expected { consistent, by_itself, by_hand }
    }
}

/// Every combination.
fn product() -> Vec<Break> {
    let mut out = Vec::new();
    let mut turn = 0;
    for (step, moment, can_fail) in STEPS {
        let stops = VICTIMS.map(Act::Stop).into_iter();
        let acts = stops.chain([Act::Kill, Act::Hang]).chain(can_fail.then_some(Act::Fail));
        for act in acts {
            turn += 1;
            // The effects of the fake server take turns beside the one that has them all.
            let alone = FAKES[turn % FAKES.len()];
            for database in [Database::Sqlite, Database::MariaDb, Database::Fake("fake-all"), Database::Fake(alone)] {
                if act == Act::Stop(Victim::Server) && database == Database::Sqlite {
                    // There is none.
                    continue;
                }
                let way = match (moment, act) {
                    // Else nobody waits there who could be killed.
                    (Firing, Act::Stop(Victim::Command | Victim::Agent)) => Way::Run,
                    (Recovering, _) => Way::FreezeThaw,
                    _ if (turn + usize::from(database == Database::MariaDb)).is_multiple_of(2) => Way::Run,
                    _ => Way::FreezeThaw,
                };
                out.push(Break { step, moment, act, database, way });
            }
        }
    }
    out
}

/// Each step and each victim with each database at least once.
fn selection() -> Vec<Break> {
    let all = product();
    let mut out = Vec::new();
    for (i, (step, moment, _)) in STEPS.iter().enumerate() {
        for (d, kind) in ["sqlite", "mariadb", "fake"].into_iter().enumerate() {
            // What ends only after the longest wait is left to the full product.
            let slow = |b: &&Break| b.act == Act::Hang && matches!(moment, Released | Proved | Running);
            let of_both: Vec<&Break> =
                all.iter().filter(|b| b.step == *step && b.database.kind() == kind).filter(|b| !slow(b)).collect();
            out.push(*of_both[(7 * i + 3 * d) % of_both.len()]);
        }
    }
    out
}

/// A database of each kind, for one combination after the other.
#[derive(Default)]
struct Bench {
    sqlite: Option<(TempDir, PathBuf)>,
    mariadb: Option<MariaDb>,
    fake: Option<FakeServer>,
    mount: Option<Mount>,
}

impl Bench {
    fn prepare(&mut self, database: Database) {
        match database {
            Database::Sqlite => {
                self.sqlite.get_or_insert_with(|| {
                    let folder = tempfile::tempdir().unwrap();
                    let file = folder.path().join("app.db");
                    sqlite::make(&file, Journal::Wal);
                    (folder, file)
                });
            }
            Database::MariaDb => {
                self.mariadb.get_or_insert_with(|| {
                    let server = MariaDb::private("crash_points", &[]).expect("it was there a moment ago");
                    server.make_table();
                    server
                });
            }
            Database::Fake(_) => {
                self.fake.get_or_insert_with(FakeServer::private);
            }
        }
    }

    fn fake(&self) -> &FakeServer {
        self.fake.as_ref().expect("it was started")
    }

    fn mariadb(&self) -> &MariaDb {
        self.mariadb.as_ref().expect("it was started")
    }

    fn configuration(&self, database: Database, timeout: u32) -> String {
        match database {
            Database::Sqlite => {
                let (_, file) = self.sqlite.as_ref().expect("it was made");
                format!("[workload]\nworkload_name = sqlite\ndbnames = {}\ntimeout = {timeout}\n", file.display())
            }
            Database::MariaDb => self.mariadb().configuration(&format!("timeout = {timeout}\n")),
            Database::Fake(name) => self.fake().configuration(name, timeout),
        }
    }

    /// One writer that writes nothing that was written before.
    fn writer(&self, database: Database) -> Writers {
        match database {
            Database::Sqlite => {
                let (_, file) = self.sqlite.as_ref().expect("it was made");
                let connection = rusqlite_open(file);
                connection.execute_batch("DELETE FROM writes").unwrap();
                drop(connection);
                sqlite::writers(file, 1)
            }
            Database::MariaDb => {
                self.mariadb().sql("SET lock_wait_timeout = 20; TRUNCATE app.writes;");
                self.mariadb().writers(1)
            }
            Database::Fake(_) => self.fake().writers(1),
        }
    }

    fn kill_server(&mut self, database: Database) {
        match database {
            Database::Sqlite => {}
            Database::MariaDb => self.mariadb.as_mut().expect("it was started").kill(),
            Database::Fake(_) => self.fake.as_mut().expect("it was started").kill(),
        }
    }

    fn start_server(&mut self, database: Database) {
        match database {
            Database::Sqlite => {}
            Database::MariaDb => self.mariadb = self.mariadb.take().map(MariaDb::start_again),
            Database::Fake(_) => self.fake.as_mut().expect("it was started").start(),
        }
    }

    /// Whether a write is acknowledged soon, and the old values are back.
    fn runs(&self, database: Database, flag: bool) -> Result<(), String> {
        match database {
            Database::Sqlite => {
                let (_, file) = self.sqlite.as_ref().expect("it was made");
                let connection = rusqlite_open(file);
                connection.busy_timeout(Duration::from_millis(1500)).unwrap();
                let write = connection.execute("INSERT INTO writes VALUES (9, abs(random()))", ());
                write.map(drop).map_err(|e| e.to_string())
            }
            Database::MariaDb => {
                let write = "SET lock_wait_timeout = 2; INSERT INTO app.writes VALUES (9, UUID_SHORT());";
                let ended = self.mariadb().try_sql(write);
                if ended.code == Some(0) { Ok(()) } else { Err(ended.stderr) }
            }
            Database::Fake(_) => {
                let want = if flag { "readonly" } else { "" };
                let frozen = self.fake().frozen();
                if frozen != want {
                    Err(format!("the server says: {frozen:?} stands, and {want:?} stood before"))
                } else if flag || self.fake().writes() {
                    Ok(())
                } else {
                    Err("a write waits".into())
                }
            }
        }
    }

    /// How many sessions are open on the server that are not of the test.
    fn sessions(&self, database: Database) -> usize {
        match database {
            Database::Sqlite => 0,
            Database::MariaDb => {
                let count = "SELECT COUNT(*) FROM information_schema.processlist WHERE user <> 'system user' \
                             AND id <> CONNECTION_ID();";
                self.mariadb().sql(count).trim().parse().unwrap()
            }
            Database::Fake(_) => self.fake().sessions(),
        }
    }
}

fn rusqlite_open(file: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    connection
}

/// A filesystem of its own, which may be frozen.
struct Mount(TempDir);

impl Mount {
    fn make() -> Mount {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image).and_then(|f| f.set_len(8 << 20)).unwrap();
        succeed(Command::new("mkfs.ext4").arg("-q").arg(&image), "");
        let out = Mount(folder);
        std::fs::create_dir(out.path()).unwrap();
        succeed(Command::new("mount").args(["-o", "loop"]).arg(image).arg(out.path()), "");
        out
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("mount")
    }

    /// Freezing twice is an error; so who can freeze it has found it thawed.
    fn is_thawed(&self) -> bool {
        run(Command::new("fsfreeze").arg("--freeze").arg(self.path()), "").code == Some(0) && self.thaw()
    }

    fn thaw(&self) -> bool {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(self.path()), "").code == Some(0)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.thaw();
        run(Command::new("umount").arg(self.path()), "");
    }
}

/// The longest that anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long the guard gives a keeper that thaws.
const THAW: Duration = Duration::from_secs(60);

/// What a shell says of a command that was killed.
const KILLED: i32 = 128 + 9;

/// One combination under way.
struct Attempt<'b> {
    what: Break,
    bench: &'b mut Bench,
    site: Site,
    flag: bool,
    seen: Vec<Process>,
    agents: Vec<Agent>,
    said: Vec<String>,
    /// Whether anybody was told, or would be, that the snapshot is consistent.
    consistent: Option<bool>,
    cut: Option<(Instant, Instant)>,
}

/// Gives how it ended.
fn attempt(what: Break, bench: &mut Bench) -> String {
    bench.prepare(what.database);
    let site = Site::new().breakable();
    if let Database::Fake(_) = what.database {
        site.install_guest("fake");
    }
    let timeout = if what.act == Act::Hang && what.step != "guard.armed" && what.moment < Firing { 5 } else { 120 };
    let mut configuration = bench.configuration(what.database, timeout);
    if what.step.contains("filesystem") {
        let mount = bench.mount.get_or_insert_with(Mount::make);
        configuration = format!("{configuration}filesystems = {}\n", mount.path().display());
    }
    site.configure(&configuration);
    // A value that was there before must come back, and not to a server that was started since.
    let flag = what.database.has_a_flag() && what.act == Act::Stop(Victim::Server);
    if flag {
        bench.fake().sql("SET READONLY 1");
    }
    let attempt = Attempt {
        what,
        bench,
        site,
        flag,
        seen: Vec::new(),
        agents: Vec::new(),
        said: Vec::new(),
        consistent: None,
        cut: None,
    };
    attempt.go()
}

impl Attempt<'_> {
    fn go(mut self) -> String {
        let writers = (!self.flag).then(|| self.bench.writer(self.what.database));
        if let Some(writers) = &writers {
            writers.get_on(3);
        }
        self.come_to_the_step();
        self.strike();
        self.carry_on();
        self.settle();
        let expected = self.what.expected();
        let told = self.consistent.unwrap_or(false);
        if expected.consistent {
            assert!(told, "it was consistent, and nobody says so: {}", self.said());
        } else {
            assert!(!told, "the verdict is better than the truth: {}", self.said());
        }
        if let (true, Some((from, to)), Some(writers)) = (told, self.cut, writers)
            && !self.what.database.writes_on()
        {
            let moved =
                writers.log().commits.into_iter().find(|c| c.begun > from && c.acknowledged.is_some_and(|at| at < to));
            assert_eq!(moved, None, "a writer got on during the snapshot: {}", self.said());
        }
        self.nobody_is_left();
        self.said.join(", ")
    }

    fn said(&self) -> String {
        let agents: Vec<String> = self.agents.iter().map(Agent::text).collect();
        format!("{}\n{}", self.said.join(", "), agents.join("\n"))
    }

    /// Who runs now is remembered, so that it can be seen to have ended.
    fn look(&mut self) -> Processes {
        let now = Processes::of(&self.site);
        for process in now.all() {
            if !self.seen.contains(process) {
                self.seen.push(process.clone());
            }
        }
        now
    }

    fn call(&mut self, name: &str, arguments: &[&str]) {
        let agent = self.site.agent(name, arguments);
        self.agents.push(agent);
    }

    fn agent(&self) -> &Agent {
        self.agents.last().expect("somebody was called")
    }

    fn begun(&self) -> bool {
        self.site.path("begun").exists()
    }

    /// Freezes, by one way or the other.
    fn call_freeze(&mut self) {
        match self.what.way {
            Way::FreezeThaw => self.call("freeze", &["freeze"]),
            Way::Run => {
                let (begun, go) = (self.site.path("begun"), self.site.path("go"));
                let script = format!(
                    "touch {}; n=0; while [ ! -e {} ] && [ $n -lt 9000 ]; do sleep 0.01; n=$((n+1)); done",
                    begun.display(),
                    go.display()
                );
                self.call("run", &["run", "--", "sh", "-c", &script]);
            }
        }
    }

    fn wait_for_frozen(&mut self) {
        let frozen =
            soon(PATIENCE, || self.begun() || (self.what.way == Way::FreezeThaw && self.agent().code().is_some()));
        assert!(frozen, "it does not freeze: {}", self.said());
        assert!(self.what.way == Way::Run || self.agent().code() == Some(0), "it does not freeze: {}", self.said());
        self.look();
    }

    /// The snapshot, as far as this test takes one.
    fn cut(&mut self) {
        let from = Instant::now();
        std::thread::sleep(Duration::from_millis(15));
        self.cut = Some((from, Instant::now()));
    }

    fn ask_to_thaw(&mut self) {
        match self.what.way {
            Way::FreezeThaw => self.call("thaw", &["thaw"]),
            Way::Run => std::fs::write(self.site.path("go"), "").unwrap(),
        }
    }

    fn come_to_the_step(&mut self) {
        let act = match self.what.act {
            Act::Stop(_) | Act::Hang => "stop",
            Act::Kill => "kill",
            Act::Fail => "fail",
        };
        let step = self.what.step;
        match self.what.moment {
            Recovering => {
                self.call_freeze();
                self.wait_for_frozen();
                let by_guard = self.what.act == Act::Stop(Victim::Guard) && step != "recovery.read";
                let now = self.look();
                if by_guard {
                    self.site.crash_at(step, act);
                } else {
                    // It would put another in the place of its guard.
                    now.keepers.iter().for_each(Process::stop);
                    now.guards.iter().for_each(Process::kill);
                }
                now.keepers.iter().for_each(Process::kill);
                if !by_guard {
                    soon(PATIENCE, || !self.seen.iter().any(|p| p.runs() && !now.commands.contains(p)));
                    self.site.crash_at(step, act);
                    let by_keeper = matches!(self.what.act, Act::Stop(Victim::Keeper | Victim::KeeperAndGuard));
                    if by_keeper {
                        // The next cycle recovers first.
                        self.call("again", &["freeze"]);
                    } else {
                        self.call("recover-crashed", &["recover"]);
                    }
                }
            }
            Firing => {
                self.call_freeze();
                self.wait_for_frozen();
                self.cut();
                self.site.crash_at(step, act);
                self.look().keepers.iter().for_each(Process::kill);
            }
            moment if moment >= Released => {
                self.call_freeze();
                self.wait_for_frozen();
                self.cut();
                if matches!(step, "keeper.undoing" | "keeper.undone") {
                    // A module that is well leaves nothing to the host.
                    self.look().engines.iter().for_each(Process::kill);
                }
                self.site.crash_at(step, act);
                self.ask_to_thaw();
            }
            _ => {
                self.site.crash_at(step, act);
                self.call_freeze();
            }
        }
        let reached = soon(PATIENCE, || self.site.reached().is_some());
        assert!(reached, "nobody came to {step}: {}", self.said());
    }

    /// Kills whom it shall hit, and lets the others go on.
    fn strike(&mut self) {
        let now = self.look();
        let Act::Stop(victim) = self.what.act else {
            if self.what.act != Act::Hang {
                self.site.go_on();
            }
            return;
        };
        let (database, moment) = (self.what.database, self.what.moment);
        let hit: Vec<&Process> = match victim {
            Victim::Keeper => now.keepers.iter().collect(),
            Victim::Engine => now.engines.iter().collect(),
            Victim::Guard => now.guards.iter().collect(),
            Victim::KeeperAndGuard => now.guards.iter().chain(&now.keepers).collect(),
            Victim::Client => now.clients.iter().collect(),
            Victim::Command => now.commands.iter().collect(),
            Victim::Server | Victim::Agent => Vec::new(),
        };
        hit.iter().for_each(|p| p.kill());
        let dead = soon(PATIENCE, || !hit.iter().any(|p| p.runs()));
        assert!(dead, "{hit:?} cannot be killed");
        match victim {
            Victim::Server => self.bench.kill_server(database),
            Victim::Agent => self.agents.last_mut().expect("somebody was called").kill(),
            _ if hit.is_empty() => {
                // The keeper is dead by then, or nothing of it was started.
                let absent = match victim {
                    Victim::Engine => moment == Begun || moment >= Firing || matches!(moment, Unguarded | Recorded),
                    Victim::Client => {
                        matches!(moment, Begun | Running | Unguarded | Recorded | Recovering)
                            || (moment == Firing && (database == Database::Sqlite || self.what.step == "guard.closed"))
                    }
                    Victim::Guard => matches!(moment, Begun | Checked | Unguarded | Recorded | Recovering),
                    Victim::Keeper => matches!(moment, Firing | Recovering),
                    // `freeze` has returned.
                    Victim::Command => matches!(moment, Told | Firing),
                    _ => false,
                } || (victim == Victim::Engine && self.what.step == "keeper.closing")
                    || (victim == Victim::Engine && matches!(self.what.step, "keeper.undoing" | "keeper.undone"));
                assert!(absent, "there is no {victim:?} at {}", self.what.step);
                self.said.push("nobody there".into());
            }
            _ => {}
        }
        self.site.go_on();
        if victim == Victim::Server {
            // Whoever needs it finds it gone. Who thaws tries again until it is back.
            let longest = if moment < Released { PATIENCE } else { Duration::from_millis(1500) };
            soon(longest, || self.agent().code().is_some() || self.begun());
            self.bench.start_server(database);
            // What was in its memory is gone, and nothing puts it back.
            self.flag = false;
        }
    }

    /// The agent does what is left to it.
    fn carry_on(&mut self) {
        let moment = self.what.moment;
        let expected = self.what.expected();
        if expected.by_hand {
            // Nothing of his stands still, where it must not; then the test ends him.
            if expected.by_itself {
                self.runs_by_itself();
            }
            let now = self.look();
            now.keepers.iter().chain(&now.guards).for_each(Process::kill);
            if moment == Recovering {
                now.commands.iter().for_each(Process::kill);
            }
            self.site.go_on();
        }
        if moment == Recovering {
            let killed = matches!(self.what.victim(), Some(Victim::Command | Victim::Agent));
            soon(if killed { Duration::from_millis(300) } else { PATIENCE * 2 }, || self.agent().code().is_some());
            return;
        }
        let dead_keeper =
            moment == Firing || matches!(self.what.victim(), Some(Victim::Keeper | Victim::KeeperAndGuard));
        if moment < Released {
            let ends =
                soon(THAW + PATIENCE, || self.agent().code().is_some() || self.begun() || self.nobody_will_answer());
            assert!(ends, "it neither freezes nor ends: {}", self.said());
            let frozen = match self.what.way {
                Way::FreezeThaw => self.agent().json().is_some_and(|j| j["frozen"].is_object()),
                Way::Run => self.begun(),
            };
            if frozen && !dead_keeper && self.cut.is_none() {
                self.cut();
            }
            if dead_keeper && expected.by_itself {
                self.runs_by_itself();
            }
            if self.what.way == Way::Run {
                std::fs::write(self.site.path("go"), "").unwrap();
            } else if frozen && !dead_keeper {
                self.call("thaw", &["thaw"]);
            }
        } else if dead_keeper && moment == Firing {
            if expected.by_itself {
                self.runs_by_itself();
            }
            std::fs::write(self.site.path("go"), "").unwrap();
        }
        let ends = soon(THAW + PATIENCE, || self.agent().code().is_some() || self.nobody_will_answer());
        assert!(ends, "nobody says how it ended: {}", self.said());
    }

    /// Whether the shell that would say how it ended was killed, and what it called has ended.
    fn nobody_will_answer(&self) -> bool {
        self.agent().is_killed() && !Processes::of(&self.site).commands.iter().any(Process::runs)
    }

    fn runs_by_itself(&mut self) {
        let hangs = self.what.act == Act::Hang;
        let longest = if hangs { THAW + PATIENCE } else { PATIENCE };
        let mut why = String::new();
        let runs = soon(longest, || match self.bench.runs(self.what.database, self.flag) {
            Ok(()) => {
                why = "a filesystem stands still".into();
                self.filesystem_is_thawed()
            }
            Err(e) => {
                why = e;
                false
            }
        });
        assert!(runs, "it does not go on by itself ({why}): {}", self.said());
    }

    fn filesystem_is_thawed(&self) -> bool {
        !self.what.step.contains("filesystem") || self.bench.mount.as_ref().is_none_or(Mount::is_thawed)
    }

    /// Calls it until nobody else holds the lock.
    fn recover(&mut self) -> (Option<i32>, Value) {
        let mut last = None;
        let free = soon(THAW + PATIENCE, || {
            let said = self.site.json(&["recover"]);
            let busy = said.code == Some(7);
            last = Some(said);
            !busy
        });
        let said = last.expect("it was called once");
        assert!(free, "somebody still holds the lock: {} {:?}", said.text, Processes::of(&self.site));
        self.said.push(format!("recover {}", said.code.unwrap_or(-1)));
        (said.code, said.json)
    }

    /// Nothing stands still, nothing is armed, and everybody was told what is true.
    fn settle(&mut self) {
        let expected = self.what.expected();
        if expected.by_itself {
            self.runs_by_itself();
        } else {
            let (code, json) = self.recover();
            assert!(matches!(code, Some(0 | 5)), "recover ended with {code:?}: {json}");
            let mut why = String::new();
            let runs = soon(Duration::from_secs(5), || {
                self.bench.runs(self.what.database, self.flag).map_err(|e| why = e).is_ok()
                    && self.filesystem_is_thawed()
            });
            assert!(runs, "it does not go on after recover ({why}): {json} {}", self.said());
        }
        let recovers = matches!(self.what.moment, Firing | Recovering);
        for agent in &self.agents {
            let code = agent.code();
            let json = agent.json().unwrap_or_default();
            let name = if json["frozen"].is_object() { "frozen" } else { "told" };
            self.said.push(format!("{name} {}", code.map_or("-".into(), |c| c.to_string())));
            assert!(!agent.text().contains("panicked"), "it panicked: {}", agent.text());
            if json["taken_back"].is_array() && !recovers {
                let begun = self.what.step != "keeper.locked";
                assert_eq!(json["cycle"].is_string(), begun, "{json}");
            }
            if name == "told" && json["verdict"].is_string() {
                self.consistent = Some(json["exit"] == "done");
                assert_eq!(code.is_none_or(|c| c == 0), json["exit"] == "done", "{code:?}: {json}");
            } else if name == "told" && code.is_some_and(|c| c != KILLED) && !recovers {
                self.consistent = Some(code == Some(0));
            }
        }
        // Who was told nothing asks.
        if self.consistent.is_none() && self.what.way == Way::FreezeThaw && self.what.moment != Recovering {
            let said = self.site.json(&["thaw"]);
            self.said.push(format!("thaw {}", said.code.unwrap_or(-1)));
            self.consistent = Some(said.code == Some(0));
        }
        let (code, json) = self.recover();
        assert!(matches!(code, Some(0 | 5)), "recover ended with {code:?}: {json}");
        let (code, json) = self.recover();
        assert_eq!((code, &json["taken_back"]), (Some(0), &serde_json::json!([])), "a second recover: {json}");
        self.site.assert_nothing_is_frozen();
        self.bench.runs(self.what.database, self.flag).unwrap_or_else(|e| panic!("in the end: {e}; {}", self.said()));
        assert!(self.filesystem_is_thawed(), "the filesystem stands still");
        self.record_holds();
        // Nobody heard `run`: what it left counts as what it would have said.
        let said_so = self.site.records().iter().any(|r| r["exit"] == "done");
        if self.consistent.is_none() {
            self.consistent = Some(said_so);
        }
    }

    /// Whoever died: the audit record hangs together and has an end, and every head that somebody was told is found in it.
    fn record_holds(&self) {
        let verified = self.site.json(&["record", "verify"]);
        assert_eq!(verified.code, Some(0), "{}; {}", verified.text, self.said());
        let told = self.agents.iter().filter_map(Agent::json);
        for head in told.filter_map(|j| Some(j["head"].as_str()?.to_owned())) {
            let verified = self.site.json(&["record", "verify", "--head", &head]);
            assert_eq!(verified.code, Some(0), "{head}: {}; {}", verified.text, self.said());
        }
    }

    fn nobody_is_left(&mut self) {
        self.look();
        let left = |seen: &[Process]| seen.iter().filter(|p| p.runs()).cloned().collect::<Vec<_>>();
        let gone = soon(Duration::from_secs(10), || left(&self.seen).is_empty());
        assert!(gone, "these still run: {:?}", left(&self.seen));
        let database = self.what.database;
        let closed = soon(Duration::from_secs(10), || {
            let open = self.bench.sessions(database);
            open == 0
        });
        assert!(closed, "{} sessions are open on the server", self.bench.sessions(database));
    }
}

impl Drop for Attempt<'_> {
    /// Whatever is left ends, and the next combination begins anew.
    fn drop(&mut self) {
        self.site.go_on();
        let _ = std::fs::write(self.site.path("go"), "");
        if std::thread::panicking() {
            self.look();
            self.seen.iter().for_each(Process::kill);
            if let Some(mount) = &self.bench.mount {
                mount.thaw();
            }
            let mount = self.bench.mount.take();
            *self.bench = Bench { mount, ..Bench::default() };
        } else if self.what.database.has_a_flag() {
            let _ = self.bench.fake().try_sql("SET READONLY 0");
        }
    }
}

/// What came of one combination.
struct Row {
    what: Break,
    took: Duration,
    ended: Result<String, String>,
}

fn try_all(list: &[Break], threads: usize) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    let table = std::env::var_os("STILLPOINT_CRASH_POINTS_TABLE");
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut bench = Bench::default();
                while let Some(what) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| attempt(*what, &mut bench)));
                    let ended = ended.map_err(|e| {
                        let text = e.downcast_ref::<String>().cloned();
                        text.or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
                    });
                    let row = Row { what: *what, took: began.elapsed(), ended };
                    let line = row.to_string();
                    println!("{line}");
                    if let Some(table) = &table {
                        let file = std::fs::File::options().append(true).create(true).open(table);
                        file.and_then(|mut f| writeln!(f, "{line}")).unwrap();
                    }
                    rows.lock().unwrap().push(row);
                }
            });
        }
    });
    rows.into_inner().unwrap()
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, ended) = match &self.ended {
            Ok(how) => ("✔", how),
            Err(why) => ("✘", why),
        };
        write!(f, "{mark} {} {:6.1} s  {ended}", self.what, self.took.as_secs_f64())
    }
}

/// What is listed here is what the code names.
#[test]
fn every_step_is_listed() {
    let said = succeed(Command::new(dist::crash_program()).arg("crash-points"), "");
    let named: BTreeSet<&str> = said.lines().collect();
    let listed: BTreeSet<&str> = STEPS.iter().map(|(step, ..)| *step).collect();
    assert_eq!(named, listed, "left: what the code names; right: what this test breaks");
}

/// What tests can do to the command cannot be done to the one that is shipped.
#[test]
fn the_shipped_command_has_no_crash_points() {
    let words: Vec<&str> = STEPS.iter().map(|(step, ..)| *step).collect();
    let words = [&words[..], &["crash.reached", "crash.new", "crash-points", "a test had this step fail"]].concat();
    let holds = |program: &Path| -> BTreeSet<&str> {
        let bytes = std::fs::read(program).unwrap();
        let begins: BTreeSet<u8> = words.iter().map(|w| w.as_bytes()[0]).collect();
        let at = bytes.iter().enumerate().filter(|(_, b)| begins.contains(b)).map(|(at, _)| &bytes[at..]);
        at.flat_map(|rest| words.iter().filter(|w| rest.starts_with(w.as_bytes()))).copied().collect()
    };
    let (shipped, breakable) = (dist::program("stillpoint"), dist::crash_program());
    assert_eq!(holds(breakable), words.iter().copied().collect(), "what is not even in the command with crash points");
    assert_eq!(holds(&shipped), BTreeSet::new(), "what is in the shipped command");
}

/// The selection is one.
#[test]
fn the_selection_covers_everything() {
    let selection = selection();
    let kinds = ["sqlite", "mariadb", "fake"];
    for kind in kinds {
        for (step, ..) in STEPS {
            assert!(selection.iter().any(|b| b.step == step && b.database.kind() == kind), "{step} with {kind}");
        }
        for victim in VICTIMS.into_iter().filter(|v| *v != Victim::Server || kind != "sqlite") {
            let is = |b: &&Break| b.act == Act::Stop(victim) && b.database.kind() == kind;
            assert!(selection.iter().any(|b| is(&b)), "{victim:?} with {kind}");
        }
    }
}

/// The guard dies when the keeper begins to thaw, and so do the clients: the guard that takes its place knows what is
/// armed, and takes back what the keeper cannot.
#[test]
fn a_guard_that_is_replaced_in_the_thaw_knows_what_is_armed() {
    let mut bench = Bench::default();
    let database = Database::Fake("fake-all");
    bench.prepare(database);
    let site = Site::with(&bench.configuration(database, 60)).breakable();
    site.install_guest("fake");
    site.freeze();
    site.crash_at("keeper.released", "stop");
    let thaw = site.agent("thaw", &["thaw"]);
    assert!(soon(PATIENCE, || site.reached().is_some()));
    let now = Processes::of(&site);
    now.guards.iter().chain(&now.clients).for_each(Process::kill);
    site.go_on();
    assert!(soon(THAW + PATIENCE, || thaw.code().is_some()), "nobody says how it ended");
    assert_eq!(thaw.code(), Some(5), "{}", thaw.text());
    assert_eq!(bench.runs(database, false), Ok(()), "{}", thaw.text());
}

/// The kernel takes its time to freeze a filesystem that has much to write out first. Whoever no longer waits for it thaws
/// it all the same, once it is frozen.
#[test]
fn a_filesystem_that_is_frozen_only_after_the_agent_is_lost() {
    let test = "a_filesystem_that_is_frozen_only_after_the_agent_is_lost";
    let Some(mount) = LoopMount::make(test, Kind::Ext4) else { return };
    let mut bench = Bench::default();
    bench.prepare(Database::Sqlite);
    let configuration = bench.configuration(Database::Sqlite, 60);
    let site = Site::with(&format!("{configuration}filesystems = {}\n", mount.path().display())).breakable();
    site.crash_at("keeper.filesystem-armed", "stop");
    let freeze = site.agent("freeze", &["freeze"]);
    assert!(soon(PATIENCE, || site.reached().is_some()), "{}", freeze.text());
    let much = std::fs::File::create(mount.path().join("much")).unwrap();
    (0..300).for_each(|_| (&much).write_all(&[7; 1 << 20]).unwrap());
    let now = Processes::of(&site);
    now.commands.iter().for_each(Process::kill);
    site.go_on();
    assert!(soon(THAW, || !now.all().any(Process::runs)), "these still run: {now:?}");
    assert!(mount.takes_writes(), "it stands still, and nobody knows");
    let status = site.json(&["status"]);
    assert_eq!(status.code, Some(0), "{}", status.text);
    assert_eq!(bench.runs(Database::Sqlite, false), Ok(()));
}

#[test]
fn whatever_dies_nothing_stands_still() {
    let test = "whatever_dies_nothing_stands_still";
    let wanted = std::env::var("STILLPOINT_CRASH_POINTS").unwrap_or_default();
    let mut list = match wanted.as_str() {
        "" => selection(),
        "all" => product(),
        words => {
            let all = product().into_iter();
            let fits = |b: &Break, word: &str| match word.strip_prefix('!') {
                Some(word) => !b.to_string().contains(word),
                None => b.to_string().contains(word),
            };
            all.filter(|b| words.split(',').all(|w| fits(b, w))).collect()
        }
    };
    if missing::program(test, &["mariadbd"], "mariadb-server").is_none() {
        list.retain(|b| b.database != Database::MariaDb);
    }
    if !missing::is_root(test, "mounting a filesystem that may be frozen needs root") {
        list.retain(|b| !b.step.contains("filesystem"));
    }
    // The long ones first.
    list.sort_by_key(|b| b.act != Act::Hang);
    let threads = std::env::var("STILLPOINT_CRASH_POINTS_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let rows = try_all(&list, threads);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *counts.entry(row.what.database.kind()).or_default() += 1;
    }
    let failed: Vec<String> = rows.iter().filter(|r| r.ended.is_err()).map(Row::to_string).collect();
    println!("\n{} combinations {counts:?}, {} failed", rows.len(), failed.len());
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), rows.len(), failed.join("\n"));
}
