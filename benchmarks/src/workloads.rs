//! Whether a cycle of eight workloads takes longer than the slowest of them alone.
//!
//! All eight servers and their writers run all the time, so what is alone in its cycle is not alone on the machine: only
//! what the cycle itself adds is in the ratio. Each round holds a cycle of each workload alone and one of all eight, and
//! who goes first changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stillpoint_tests::folder;
use stillpoint_tests::mariadb::{self, MariaDb};
use stillpoint_tests::postgres::{self, Postgres};
use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::redis::{self, Redis};
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::volume::Volume;
use stillpoint_tests::writers::Writers;
use tempfile::TempDir;

use crate::PAUSE;
use crate::figures::{Range, heading, milliseconds};

/// Rounds that are run first and not counted.
const WARM_UP: usize = 2;

/// The most that all together may take, as a multiple of the slowest alone.
const MOST: f64 = 1.3;

/// Between two commits of a writer. Eight that never rest would measure how two cores are shared out among them.
const REST: Duration = Duration::from_millis(5);

/// All together, among the names of the workloads.
const ALL: &str = "all eight";

/// What is done while everything stands still.
#[derive(Clone, Copy)]
pub enum Snapshot {
    /// Nothing, for so many milliseconds.
    Sleep(u16),
    /// A snapshot of the btrfs on which all data lies.
    Btrfs,
}

/// Where all data lies.
enum Place {
    Folder(TempDir),
    Volume(Volume),
}

impl Place {
    fn new(snapshot: Snapshot) -> Result<Place> {
        Ok(match snapshot {
            Snapshot::Sleep(_) => {
                // The servers run as users of their own.
                Place::Folder(folder::with_mode(0o755))
            }
            Snapshot::Btrfs => Place::Volume(Volume::make("the benchmark").context("btrfs is needed, and root")?),
        })
    }

    fn data(&self) -> PathBuf {
        match self {
            Place::Folder(folder) => folder.path().to_owned(),
            Place::Volume(volume) => volume.data(),
        }
    }
}

/// What one cycle said of itself, in microseconds.
#[derive(Clone, Copy)]
struct Times {
    /// From the first freezing statement of any kind to the last undo: in it are PostgreSQL's checkpoint and whatever
    /// else is done in prepare once something is held.
    frozen: u64,
    /// From the begin of freeze to the last undo, of the workload that takes longest.
    window: u64,
    /// From the first statement that stops writes to the last undo; PostgreSQL has none.
    standstill: Option<u64>,
    /// From the first workload that stood still to the last.
    skew: Option<u64>,
    /// Of the window: the longest freeze, the shortest hold, the longest thaw.
    parts: [u64; 3],
}

/// All cycles of one workload, or of all together.
struct Row {
    name: &'static str,
    frozen: Range,
    window: Range,
    standstill: Option<Range>,
    skew: Option<Range>,
    parts: [Range; 3],
}

/// What was measured.
pub struct Measured {
    rows: Vec<Row>,
    rounds: usize,
    snapshot: Snapshot,
    load: String,
}

/// Measures this many rounds with the programs in this folder, and this for a snapshot.
///
/// # Errors
/// When a server is missing, or a cycle does not end well.
pub fn measure(programs: &Path, rounds: usize, snapshot: Snapshot) -> Result<Measured> {
    let test = "the benchmark";
    let place = Place::new(snapshot)?;
    let data = |name: &str| place.data().join(name);
    let maria = |name: &str| {
        mariadb::fresh(test, &data(name)).context("MariaDB is needed")?;
        anyhow::Ok(MariaDb::on(&data(name), &[]))
    };
    let postgres = |name: &str| {
        postgres::fresh(test, &data(name)).context("PostgreSQL is needed")?;
        anyhow::Ok(Postgres::on(&data(name), &[]))
    };
    let redis_programs = redis::Programs::find(test).context("Redis is needed")?;
    let appending = [("appendonly", "yes"), ("appendfsync", "everysec")];
    let redis = |name: &str| Redis::on(&redis_programs, &data(name), &appending);
    let marias = [maria("mariadb-1")?, maria("mariadb-2")?];
    let postgreses = [postgres("postgres-1")?, postgres("postgres-2")?];
    let redises = [redis("redis-1"), redis("redis-2")];
    let files = ["a.db", "b.db"].map(data);
    marias.iter().for_each(MariaDb::make_table);
    postgreses.iter().for_each(Postgres::make_table);
    files.iter().for_each(|file| sqlite::make(file, Journal::Wal));

    let mut sections: Vec<(&'static str, String)> = Vec::new();
    for (name, server) in ["mariadb 1", "mariadb 2"].into_iter().zip(&marias) {
        let socket = server.socket();
        sections.push((name, format!("workload_name = mariadb\ncredString = -u root -S {}\n", socket.display())));
    }
    for (name, server) in ["postgres 1", "postgres 2"].into_iter().zip(&postgreses) {
        let login = format!("linux_user = postgres\ncredString = -u postgres -S {}\n", server.socket().display());
        sections.push((name, format!("workload_name = postgres\n{login}")));
    }
    for (name, file) in ["sqlite 1", "sqlite 2"].into_iter().zip(&files) {
        sections.push((name, format!("workload_name = sqlite\ndbnames = {}\n", file.display())));
    }
    for (name, server) in ["redis 1", "redis 2"].into_iter().zip(&redises) {
        sections.push((name, server.configuration("").replace("[workload]\n", "")));
    }
    let section = |(name, lines): &(&str, String)| {
        let heading = name.replace(' ', "-");
        let ipc = data(&format!("ipc-{heading}"));
        std::fs::create_dir_all(&ipc)?;
        anyhow::Ok(format!(
            "[workload {heading}]\n{lines}ipc_folder = {}\ntimeout = 60\nstall_budget = 30\n",
            ipc.display()
        ))
    };
    let sections: Vec<(&str, String)> =
        sections.iter().map(|s| anyhow::Ok((s.0, section(s)?))).collect::<Result<_>>()?;
    let together: String = sections.iter().map(|(_, section)| section.as_str()).collect();
    let sites: Vec<(&str, Site)> = std::iter::once((ALL, &together))
        .chain(sections.iter().map(|(name, section)| (*name, section)))
        .map(|(name, configuration)| (name, Site::with(configuration)))
        .collect();

    let mut writers: Vec<Writers> = Vec::new();
    writers.extend(marias.iter().map(|s| s.writers(1)));
    writers.extend(postgreses.iter().map(|s| s.writers(1)));
    writers.extend(redises.iter().map(|s| s.writers(1)));
    writers.extend(files.iter().map(|file| sqlite::writers(file, 1)));
    let writers: Vec<Writers> = writers.into_iter().map(|w| w.resting(REST)).collect();
    writers.iter().for_each(|w| w.get_on(20));
    let mut times: BTreeMap<&str, Vec<Times>> = BTreeMap::new();
    for round in 0..WARM_UP + rounds {
        for i in 0..sites.len() {
            let (name, site) = &sites[(round + i) % sites.len()];
            std::thread::sleep(PAUSE);
            let at = place.data().with_file_name("snapshot");
            let command = match snapshot {
                Snapshot::Sleep(0) => vec!["true".to_owned()],
                Snapshot::Sleep(ms) => vec!["sleep".into(), format!("{}.{:03}", ms / 1000, ms % 1000)],
                Snapshot::Btrfs => ["btrfs", "-q", "subvolume", "snapshot", "-r"]
                    .into_iter()
                    .map(str::to_owned)
                    .chain([place.data(), at.clone()].map(|p| p.display().to_string()))
                    .collect(),
            };
            let one = cycle(programs, site, &command).with_context(|| (*name).to_owned())?;
            if let Place::Volume(_) = place {
                succeed(Command::new("btrfs").args(["-q", "subvolume", "delete"]).arg(&at), "");
            }
            if round >= WARM_UP {
                times.entry(name).or_default().push(one);
            }
        }
    }
    for log in writers.into_iter().map(Writers::stop) {
        ensure!(log.errors.is_empty(), "a writer saw errors: {:?}", log.errors);
    }
    let row = |name: &'static str| {
        let all = times.get(name).map(Vec::as_slice).unwrap_or_default();
        let some = |values: Vec<u64>| (!values.is_empty()).then(|| Range::of(values));
        Row {
            name,
            frozen: Range::of(all.iter().map(|t| t.frozen)),
            window: Range::of(all.iter().map(|t| t.window)),
            standstill: some(all.iter().filter_map(|t| t.standstill).collect()),
            skew: some(all.iter().filter_map(|t| t.skew).collect()),
            parts: [0, 1, 2].map(|part| Range::of(all.iter().map(|t| t.parts[part]))),
        }
    };
    let names = sections.iter().map(|(name, _)| *name).chain([ALL]);
    Ok(Measured { rows: names.map(row).collect(), rounds, snapshot, load: load() })
}

/// One cycle, with this command for a snapshot.
fn cycle(programs: &Path, site: &Site, snapshot: &[String]) -> Result<Times> {
    let snapshot = snapshot.iter().map(String::as_str);
    let call = site.command(&["--output", "json", "run", "--"].into_iter().chain(snapshot).collect::<Vec<_>>());
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(programs.join("stillpoint")).args(call.get_args());
    let ended = run(&mut command, "");
    ensure!(ended.code == Some(0), "it ended with {:?}: {}{}", ended.code, ended.stdout, ended.stderr);
    let record: Value = serde_json::from_str(&ended.stdout)?;
    let phases = |w: &Value| -> Option<[u64; 3]> {
        let phase = |name: &str| w["phases"][name].as_u64();
        Some([phase("freeze_us")?, phase("held_us")?, phase("thaw_us")?])
    };
    let workloads = record["workloads"].as_array().context("no workloads")?;
    let all: Option<Vec<[u64; 3]>> = workloads.iter().map(phases).collect();
    let all = all.context("a phase has no time")?;
    let part = |n: usize| all.iter().map(move |phases| phases[n]);
    let (freeze, hold, thaw) = (part(0).max(), part(1).min(), part(2).max());
    Ok(Times {
        frozen: record["frozen_us"].as_u64().context("nothing was frozen")?,
        window: all.iter().map(|phases| phases.iter().sum()).max().unwrap_or_default(),
        standstill: record["standstill_us"].as_u64(),
        skew: record["skew_us"].as_u64(),
        parts: [freeze, hold, thaw].map(Option::unwrap_or_default),
    })
}

fn words(snapshot: Snapshot) -> String {
    match snapshot {
        Snapshot::Sleep(ms) => format!("a snapshot of {ms} ms"),
        Snapshot::Btrfs => "a real snapshot of a btrfs".into(),
    }
}

/// How busy the machine was.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// All together beside the slowest alone.
struct Compared {
    all: u64,
    slowest: u64,
    name: &'static str,
}

impl Compared {
    #[allow(clippy::cast_precision_loss)]
    fn ratio(&self) -> f64 {
        self.all as f64 / self.slowest.max(1) as f64
    }

    fn holds(&self) -> bool {
        self.ratio() <= MOST
    }
}

impl Measured {
    fn compared(&self, figure: impl Fn(&Row) -> Option<&Range>) -> Compared {
        let median = |r: &Row| figure(r).map(|range| range.median);
        let alone = self.rows.iter().filter(|r| r.name != ALL).filter_map(|r| Some((median(r)?, r.name)));
        let (slowest, name) = alone.max().unwrap_or_default();
        let all = self.rows.iter().find(|r| r.name == ALL).and_then(median).unwrap_or_default();
        Compared { all, slowest, name }
    }
}

/// For people.
pub fn text(measured: &Measured) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut out = format!(
        "\n  Eight workloads with a writer each, {}, {} rounds, {cores} cores, load average {}. All times in ms.\n\n",
        words(measured.snapshot),
        measured.rounds,
        measured.load
    );
    let mut table = |name: &str, figure: &dyn Fn(&Row) -> Option<Range>| {
        let _ = writeln!(out, "{}", heading(name));
        for row in &measured.rows {
            if let Some(range) = figure(row) {
                let _ = writeln!(out, "{}", range.line(row.name));
            }
        }
        out.push('\n');
    };
    table("first freeze to last undo", &|r| Some(r.frozen));
    table("freeze, hold and thaw", &|r| Some(r.window));
    table("writers stand still", &|r| r.standstill);
    table("skew", &|r| r.skew);
    for (part, name) in ["freeze", "hold", "thaw"].iter().enumerate() {
        let medians = measured.rows.iter().map(|r| format!("{} {:.2}", r.name, milliseconds(r.parts[part].median)));
        let _ = writeln!(out, "  {name}: {}", medians.collect::<Vec<_>>().join(", "));
    }
    out.push('\n');
    for (what, compared) in figures(measured) {
        let _ = writeln!(
            out,
            "  {} {what}: {:.2} ms, {:.2} × the {:.2} ms of {} alone, and at most {MOST:.1} ×",
            if compared.holds() { '✔' } else { '✘' },
            milliseconds(compared.all),
            compared.ratio(),
            milliseconds(compared.slowest),
            compared.name,
        );
    }
    out + "\n"
}

fn figures(measured: &Measured) -> [(&'static str, Compared); 3] {
    [
        ("writers stand still", measured.compared(|r| r.standstill.as_ref())),
        ("freeze, hold and thaw", measured.compared(|r| Some(&r.window))),
        ("first freeze to last undo", measured.compared(|r| Some(&r.frozen))),
    ]
}

/// For programs.
pub fn json(measured: &Measured) -> Value {
    let row = |r: &Row| {
        json!({
            "name": r.name,
            "frozen": r.frozen.json(),
            "window": r.window.json(),
            "standstill": r.standstill.map(|s| s.json()),
            "skew": r.skew.map(|s| s.json()),
            "freeze": r.parts[0].json(),
            "hold": r.parts[1].json(),
            "thaw": r.parts[2].json(),
        })
    };
    let target = |(what, c): (&str, Compared)| {
        json!({
            "figure": what,
            "all": milliseconds(c.all),
            "slowest": { "name": c.name, "median": milliseconds(c.slowest) },
            "ratio": c.ratio(),
            "most": MOST,
            "holds": c.holds(),
        })
    };
    json!({
        "unit": "milliseconds",
        "rounds": measured.rounds,
        "snapshot": words(measured.snapshot),
        "load": measured.load,
        "workloads": measured.rows.iter().map(row).collect::<Vec<_>>(),
        "targets": figures(measured).map(target),
    })
}
