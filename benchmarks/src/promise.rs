//! The first promise in figures: how soon what stands still is let go when a deadline passes or a process of ours
//! fails, and what the processes that promise it weigh.
//!
//! When an undo was sent is asked of who received it: the fake server notes the time of each statement. A real database
//! has no such log, so there it is the writers who say when they got on.

mod rest;
mod scene;

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::writers::{Log, Writers};

use crate::figures::{Spread, signed_milliseconds};
use crate::{PAUSE, WRITERS};
use rest::Weighed;
use scene::{Fake, Installed, boottime_us};

/// `timeout`, in seconds, where the deadline is waited for. A login is given no longer, however busy the machine is.
const DEADLINE: u32 = 2;

/// The same where it must not pass.
const LONG: u32 = 60;

/// Rounds that are run first and not counted.
const WARM_UP: usize = 2;

/// How often the processes are weighed, for each database.
const WEIGHED: usize = 5;

/// The target of a figure.
#[derive(Clone, Copy)]
enum Target {
    /// 99 of 100 are below, in microseconds.
    Below(i64),
    /// The same, and none is early. By how much the least was late after the earliest that the freeze can have been sent.
    NeverEarlyAndBelow(i64, i64),
    /// It is only looked at.
    None,
}

/// One figure over all rounds.
struct Figure {
    id: &'static str,
    name: &'static str,
    target: Target,
    spread: Spread,
}

impl Figure {
    /// By how much the target was missed, in microseconds.
    fn missed(&self) -> Option<i64> {
        let most = match self.target {
            Target::None => return None,
            Target::NeverEarlyAndBelow(_, late) if late < 0 => return Some(late),
            Target::Below(most) | Target::NeverEarlyAndBelow(most, _) => most,
        };
        (self.spread.p99 >= most).then(|| self.spread.p99 - most)
    }

    fn line(&self) -> String {
        let ms = signed_milliseconds;
        let target = match self.target {
            Target::Below(most) | Target::NeverEarlyAndBelow(most, _) => format!("{:.0}", ms(most)),
            Target::None => String::new(),
        };
        let verdict = match (self.target, self.missed()) {
            (Target::None, _) => String::new(),
            (_, None) => "✔ holds".into(),
            (_, Some(early)) if early < 0 => format!("✘ {:.2} early", ms(-early)),
            (_, Some(by)) => format!("✘ missed by {:.2}", ms(by)),
        };
        let spread = &self.spread;
        let range = format!("{:.2}–{:.2}", ms(spread.min), ms(spread.max));
        let (median, p99) = (ms(spread.median), ms(spread.p99));
        format!("    {:<52}{target:>7}{median:>9.2}{p99:>9.2}{range:>18}  {verdict}", self.name)
    }

    fn json(&self) -> Value {
        let target = match self.target {
            Target::Below(most) | Target::NeverEarlyAndBelow(most, _) => Some(signed_milliseconds(most)),
            Target::None => None,
        };
        json!({
            "id": self.id,
            "ms": self.spread.json(),
            "target": target,
            "holds": target.map(|_| self.missed().is_none()),
        })
    }
}

/// All that was measured.
pub struct Promise {
    rounds: usize,
    figures: Vec<Figure>,
    weighed: Vec<Weighed>,
}

/// Measures everything.
pub fn measure(programs: &Path, rounds: usize) -> Result<Promise> {
    let stillpoint = programs.join("stillpoint");
    let mut figures = Vec::new();
    let mut add = |id, name, target, values: Vec<i64>| {
        let figure = Figure { id, name, target, spread: Spread::of(values.into_iter().skip(WARM_UP)) };
        eprintln!("{}", figure.line());
        figures.push(figure);
    };
    let counted = WARM_UP + rounds;

    eprintln!("measuring: the deadline passes");
    let fake = Fake::new(&stillpoint, "fake-server", DEADLINE)?;
    let late = repeat(counted, || let_pass(&fake, None))?;
    add(
        "deadline",
        "deadline to the undo received",
        Target::NeverEarlyAndBelow(5000, late.iter().map(|r| r.surely_us).min().unwrap_or_default()),
        late.iter().map(|r| r.late_us).collect(),
    );
    let guard = late.iter().map(|r| r.guard_us).collect();
    add("sleep", "a sleep of this program meanwhile", Target::None, late.iter().map(|r| r.sleep_us).collect());

    eprintln!("measuring: the module traps");
    let fake = Fake::new(&stillpoint, "fake-server-trap", LONG)?;
    add("trap", "a trap in freeze to the undo received", Target::Below(2000), repeat(counted, || trap(&fake))?);

    eprintln!("measuring: the keeper is killed");
    for (id, name, workload, undo) in [
        ("killed_server", "SIGKILL of the keeper to the undo received (server)", "fake-server", "SET READONLY 0"),
        ("killed_disk", "the same for an effect on disk", "fake-disk", "END BACKUP"),
    ] {
        let fake = Fake::new(&stillpoint, workload, LONG)?;
        add(id, name, Target::Below(50_000), repeat(counted, || kill_keeper(&fake, undo))?);
    }
    let mut weighed = Vec::new();
    {
        let folder = tempfile()?;
        let file = folder.path().join("app.db");
        sqlite::make(&file, Journal::Wal);
        let site = format!("[workload]\nworkload_name = sqlite\ndbnames = {}\ntimeout = {LONG}\n", file.display());
        let site = Installed::new(&stillpoint, &site);
        weighed.push(rest::weigh(&site, "SQLite", WEIGHED)?);
        let waited = writers_get_on(&site, sqlite::writers(&file, WRITERS), counted)?;
        add("killed_sqlite", "the same to a waiting writer getting on, SQLite", Target::Below(50_000), waited);
    }
    {
        let server = MariaDb::private("the benchmark", &[]).context("MariaDB is needed")?;
        server.make_table();
        let site = format!(
            "[workload]\nworkload_name = mariadb\ncredString = -u root --socket={}\ntimeout = {LONG}\n",
            server.socket().display()
        );
        let site = Installed::new(&stillpoint, &site);
        weighed.push(rest::weigh(&site, "MariaDB", WEIGHED)?);
        let waited = writers_get_on(&site, server.writers(WRITERS), counted)?;
        add("killed_mariadb", "the same, MariaDB", Target::Below(50_000), waited);
    }

    eprintln!("measuring: the keeper hangs");
    let fake = Fake::new(&stillpoint, "fake-server", DEADLINE)?;
    let late = repeat(counted, || let_pass(&fake, Some(Signal::SIGSTOP)))?;
    add(
        "hangs",
        "SIGSTOP of the keeper: deadline to the undo received",
        Target::None,
        late.iter().map(|r| r.late_us).collect(),
    );
    add("guard", "check's last statement to prepare's first: the guard", Target::None, guard);
    Ok(Promise { rounds, figures, weighed })
}

fn tempfile() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("sp").tempdir()?)
}

fn repeat<T>(rounds: usize, mut round: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    (0..rounds)
        .map(|_| {
            std::thread::sleep(PAUSE);
            round()
        })
        .collect()
}

/// One round in which the deadline passed.
struct Passed {
    /// How late the undo was received, after the receipt of what froze.
    late_us: i64,
    /// The same after the receipt of the question before it: when that came, nothing was frozen yet. The keeper counts
    /// from when it sends what freezes, so a receipt that was slow makes `late_us` negative, and never this.
    surely_us: i64,
    /// Between the last statement of check and the first of prepare.
    guard_us: i64,
    /// How late this program woke from a sleep as long: the machine's share.
    sleep_us: i64,
}

/// Freezes, and lets the deadline pass. The signal goes to the keeper when it has frozen.
fn let_pass(fake: &Fake<'_>, signal: Option<Signal>) -> Result<Passed> {
    let log = fake.log();
    let processes = fake.site.freeze()?;
    if let Some(signal) = signal {
        processes.keeper.send(signal)?;
    }
    let (slept, timeout) = (boottime_us()?, i64::from(DEADLINE) * 1_000_000);
    std::thread::sleep(Duration::from_secs(DEADLINE.into()));
    let sleep_us = boottime_us()? - slept - timeout;
    processes.wait_for_their_end();
    let at = |text| log.at(text);
    Ok(Passed {
        sleep_us,
        // The previous value, which the undo restores.
        surely_us: at("SET READONLY 0")? - at("SELECT READONLY")? - timeout,
        late_us: at("SET READONLY 0")? - at("SET READONLY 1")? - timeout,
        guard_us: log.first_that_begins("SET LOCK WAIT")? - at("SELECT DATADIR")?,
    })
}

/// The last that the module asks before it traps is `SELECT ROWS`.
fn trap(fake: &Fake<'_>) -> Result<i64> {
    let log = fake.log();
    let ended = fake.site.call(&["freeze"]);
    ensure!(ended.code == Some(4) && ended.stdout.contains("trapped"), "no trap: {}{}", ended.stdout, ended.stderr);
    Ok(log.at("SET READONLY 0")? - log.at("SELECT ROWS")?)
}

fn kill_keeper(fake: &Fake<'_>, undo: &str) -> Result<i64> {
    let log = fake.log();
    let processes = fake.site.freeze()?;
    let killed = boottime_us()?;
    processes.keeper.send(Signal::SIGKILL)?;
    processes.wait_for_their_end();
    Ok(log.at(undo)? - killed)
}

/// Kills the keeper of each round; gives how long after that the first of the writers that waited got on.
fn writers_get_on(site: &Installed<'_>, writers: Writers, rounds: usize) -> Result<Vec<i64>> {
    writers.get_on(50);
    let killed = repeat(rounds, || {
        let processes = site.freeze()?;
        let killed = Instant::now();
        processes.keeper.send(Signal::SIGKILL)?;
        processes.wait_for_their_end();
        Ok(killed)
    })?;
    std::thread::sleep(PAUSE);
    let log = writers.stop();
    ensure!(log.errors.is_empty(), "a writer saw errors: {:?}", log.errors);
    killed.into_iter().map(|at| got_on(&log, at)).collect()
}

fn got_on(log: &Log, killed: Instant) -> Result<i64> {
    let waited = log.commits.iter().filter(|c| c.begun < killed).filter_map(|c| c.acknowledged);
    let first = waited.filter(|a| *a > killed).min().context("no writer waited")?;
    Ok(i64::try_from((first - killed).as_micros())?)
}

/// For people.
pub fn text(promise: &Promise) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut out = format!("\n  The first promise: {} rounds, {cores} cores. All times in ms.\n\n", promise.rounds);
    let _ = writeln!(out, "  {:<54}{:>7}{:>9}{:>9}{:>18}", "", "target", "median", "p99", "range");
    for figure in &promise.figures {
        let _ = writeln!(out, "{}", figure.line());
    }
    out += "\n  The target is of p99, which is the most where there are fewer than 100 rounds.\n";
    let _ = write!(out, "\n{}", rest::text(&promise.weighed));
    out + "\n"
}

/// For programs.
pub fn json(promise: &Promise) -> Value {
    json!({
        "unit": "milliseconds",
        "rounds": promise.rounds,
        "figures": promise.figures.iter().map(Figure::json).collect::<Vec<_>>(),
        "memory": rest::json(&promise.weighed),
    })
}
