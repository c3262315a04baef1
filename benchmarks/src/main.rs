//! What Stillpoint costs the application: a cycle with a snapshot of zero length, beside the least that could do the
//! same, and the longest that a writer waited. How soon Stillpoint lets go what it froze when something fails. And what
//! verifying and loading a module costs. And whether eight workloads take longer than the slowest of them.

mod cycle;
mod figures;
mod load;
mod minimal;
mod promise;
mod report;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use stillpoint_tests::dist;
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::writers::Log;

use cycle::{Bench, Times, microseconds};

const WRITERS: u32 = 4;

/// Rounds that are run first and not counted.
const WARM_UP: usize = 5;

/// Between two measurements: long enough for a keeper to end and for the writers to find their pace again.
const PAUSE: Duration = Duration::from_millis(150);

#[derive(Parser)]
#[command(about = "Measures how long a cycle of Stillpoint makes writers wait, beside a minimal program.")]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// For people, or one JSON object.
    #[arg(long, global = true, default_value = "text")]
    output: Output,
    /// How many rounds are counted; each holds one cycle by Stillpoint, one by the minimal program, and a quiet time.
    /// Of `promise`: how often each thing fails.
    #[arg(long, global = true, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// The folder of `stillpoint` and `stillpoint-engine`; otherwise their release build, which is made first.
    #[arg(long, global = true)]
    programs: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Part {
    /// How soon what stands still is let go when a deadline passes or a process of ours fails, and what our processes
    /// weigh.
    Promise,
    /// What it costs to verify a module and load what was compiled of it, part by part.
    Load,
    /// How long eight workloads stand still in one cycle, beside each of them alone.
    Workloads {
        /// How long a command that does nothing takes for the snapshot, in milliseconds.
        #[arg(long, default_value_t = 0, conflicts_with = "btrfs")]
        snapshot: u16,
        /// A real one instead: all data on a btrfs of its own, on a loop device, and a snapshot of that.
        #[arg(long)]
        btrfs: bool,
    },
    /// The minimal program: one cycle.
    #[command(hide = true)]
    Minimal { plan: String },
}

/// How the server is set up.
pub struct Setting {
    /// For people.
    pub name: &'static str,
    /// For programs.
    pub id: &'static str,
    options: &'static [&'static str],
    /// Whether each acknowledged commit is on disk. If not, the filesystem is synced while everything stands still.
    durable: bool,
}

const SETTINGS: [Setting; 2] = [
    Setting { name: "InnoDB's defaults: each commit is on disk", id: "durable", options: &[], durable: true },
    Setting {
        name: "innodb_flush_log_at_trx_commit=2: the filesystem is synced while frozen",
        id: "synced",
        options: &["--innodb-flush-log-at-trx-commit=2"],
        durable: false,
    },
];

/// One cycle, and what a writer saw of it.
#[derive(Clone, Copy)]
pub struct Cycle {
    /// By the clock of who froze.
    pub times: Times,
    /// The longest gap between two acknowledgements to one writer that spans the freeze, in microseconds.
    pub frozen_stall_us: u64,
    /// The longest in the whole cycle: check, prepare and the end of our processes count as well.
    pub stall_us: u64,
}

/// What was measured of one setting.
pub struct Measured {
    /// Which.
    pub setting: &'static Setting,
    /// The server's version.
    pub database: String,
    /// How many statements a cycle sends, the tags not counted.
    pub statements: usize,
    /// How many commits were acknowledged in all.
    pub commits: usize,
    /// The cycles by Stillpoint.
    pub stillpoint: Vec<Cycle>,
    /// The cycles by the minimal program.
    pub minimal: Vec<Cycle>,
    /// The longest gap in a time as long as a cycle of Stillpoint, with no freeze at all, in microseconds.
    pub quiet_us: Vec<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.part {
        Some(Part::Minimal { plan }) => minimal(plan),
        Some(Part::Promise) => promise(&arguments),
        Some(Part::Load) => load(&arguments),
        Some(Part::Workloads { btrfs: true, .. }) => workloads(&arguments, workloads::Snapshot::Btrfs),
        Some(Part::Workloads { snapshot, .. }) => workloads(&arguments, workloads::Snapshot::Sleep(*snapshot)),
        None => benchmark(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("✘ {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn minimal(plan: &str) -> Result<()> {
    let times = minimal::run(&serde_json::from_str(plan)?)?;
    println!("{}", serde_json::to_string(&times)?);
    Ok(())
}

fn promise(arguments: &Arguments) -> Result<()> {
    let programs = programs(arguments)?;
    // The fake server and its client.
    cargo(&["build", "--locked", "--package", "stillpoint-tests", "--bins"])?;
    let measured = promise::measure(&programs, arguments.rounds.into())?;
    match arguments.output {
        Output::Text => print!("{}", promise::text(&measured)),
        Output::Json => println!("{}", promise::json(&measured)),
    }
    Ok(())
}

fn load(arguments: &Arguments) -> Result<()> {
    let measured = load::measure(&programs(arguments)?, arguments.rounds.into())?;
    match arguments.output {
        Output::Text => print!("{}", load::text(&measured)),
        Output::Json => println!("{}", load::json(&measured)),
    }
    Ok(())
}

fn workloads(arguments: &Arguments, snapshot: workloads::Snapshot) -> Result<()> {
    let measured = workloads::measure(&programs(arguments)?, arguments.rounds.into(), snapshot)?;
    match arguments.output {
        Output::Text => print!("{}", workloads::text(&measured)),
        Output::Json => println!("{}", workloads::json(&measured)),
    }
    Ok(())
}

fn programs(arguments: &Arguments) -> Result<PathBuf> {
    match &arguments.programs {
        Some(folder) => folder.canonicalize().with_context(|| folder.display().to_string()),
        None => release(),
    }
}

fn benchmark(arguments: &Arguments) -> Result<()> {
    let programs = programs(arguments)?;
    let mut all = Vec::new();
    for setting in &SETTINGS {
        eprintln!("measuring: {}", setting.name);
        all.push(measure(setting, &programs, arguments.rounds.into())?);
    }
    match arguments.output {
        Output::Text => print!("{}", report::text(&all)),
        Output::Json => println!("{}", report::json(&all)),
    }
    Ok(())
}

/// Builds the programs as they are shipped.
fn release() -> Result<PathBuf> {
    cargo(&["build", "--release", "--locked", "--package", "stillpoint", "--package", "stillpoint-engine"])?;
    Ok(dist::target().join("release"))
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status = cargo.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).status()?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}

/// When a cycle, or the quiet time, was under way.
#[derive(Clone, Copy)]
struct Window {
    begun: Instant,
    ended: Instant,
    /// When it had begun by the clock on the wall.
    begun_at: Timestamp,
}

impl Window {
    /// Another clock's microseconds as an instant of ours.
    fn at(&self, wall_us: i64) -> Instant {
        let after = wall_us.saturating_sub(self.begun_at.as_microsecond());
        self.begun + Duration::from_micros(after.try_into().unwrap_or_default())
    }
}

fn measure(setting: &'static Setting, programs: &Path, rounds: usize) -> Result<Measured> {
    let server = MariaDb::private("the benchmark", setting.options).context("MariaDB is needed")?;
    server.make_table();
    let bench = Bench::new(&server, programs, setting.durable)?;
    let mut database = String::new();
    let (mut stillpoint, mut minimal, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
    let writers = server.writers(WRITERS);
    writers.get_on(100);
    for round in 0..WARM_UP + rounds {
        let mut by_stillpoint = || {
            let (window, (times, record)) = pace(|| bench.stillpoint())?;
            database = record["workloads"][0]["database"].as_str().unwrap_or("?").to_owned();
            stillpoint.push((window, times));
            anyhow::Ok(())
        };
        let mut by_minimal = || {
            let (window, times) = pace(|| bench.minimal())?;
            minimal.push((window, times));
            anyhow::Ok(())
        };
        // Who goes first changes from round to round.
        if round % 2 == 0 {
            by_stillpoint()?;
            by_minimal()?;
        } else {
            by_minimal()?;
            by_stillpoint()?;
        }
        let length = stillpoint.last().map_or(PAUSE, |(last, _)| last.ended - last.begun);
        let (window, ()) = pace(|| {
            std::thread::sleep(length);
            Ok(())
        })?;
        quiet.push(window);
    }
    let log = writers.stop();
    ensure!(log.errors.is_empty(), "a writer saw errors: {:?}", log.errors);
    let gaps = Gaps::of(&log);
    let counted = |all: Vec<(Window, Times)>| {
        let one = |(window, times): (Window, Times)| {
            let frozen = window.at(times.frozen_at_us);
            let frozen_stall_us = gaps.longest(Window { begun: frozen, ended: frozen, ..window });
            Cycle { times, frozen_stall_us, stall_us: gaps.longest(window) }
        };
        all.into_iter().skip(WARM_UP).map(one).collect()
    };
    Ok(Measured {
        setting,
        database,
        statements: bench.statements,
        commits: log.acknowledged(),
        stillpoint: counted(stillpoint),
        minimal: counted(minimal),
        quiet_us: quiet.into_iter().skip(WARM_UP).map(|w| gaps.longest(w)).collect(),
    })
}

/// Does it after the pause, and notes when.
fn pace<T>(what: impl FnOnce() -> Result<T>) -> Result<(Window, T)> {
    std::thread::sleep(PAUSE);
    let (begun, begun_at) = (Instant::now(), Timestamp::now());
    let done = what()?;
    Ok((Window { begun, ended: Instant::now(), begun_at }, done))
}

/// When each writer had its commits acknowledged, in order.
struct Gaps(Vec<Vec<Instant>>);

impl Gaps {
    fn of(log: &Log) -> Gaps {
        let writer = |w| log.commits.iter().filter(|c| c.writer == w).filter_map(|c| c.acknowledged).collect();
        Gaps((0..WRITERS).map(writer).collect())
    }

    /// The longest gap of any writer that touches the window, in microseconds.
    fn longest(&self, window: Window) -> u64 {
        let of_one = |all: &Vec<Instant>| {
            let first = all.partition_point(|a| *a < window.begun).saturating_sub(1);
            let last = all.partition_point(|a| *a <= window.ended);
            let touching = all.get(first..(last + 1).min(all.len())).unwrap_or_default();
            touching.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default()
        };
        microseconds(self.0.iter().map(of_one).max().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_of_one_writer_and_touches_the_window() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let writer = |acknowledged: &[u64]| acknowledged.iter().copied().map(at).collect();
        let gaps = Gaps(vec![writer(&[0, 40, 42, 51, 53, 100]), writer(&[41, 43, 47, 52, 90])]);
        let longest =
            |begun, ended| gaps.longest(Window { begun: at(begun), ended: at(ended), begun_at: Timestamp::UNIX_EPOCH });
        assert_eq!(longest(43, 50), 9000);
        assert_eq!(longest(52, 52), 38_000);
        assert_eq!(longest(95, 120), 47_000);
        assert_eq!(longest(101, 120), 0);
    }
}
