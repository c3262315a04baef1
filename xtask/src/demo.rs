//! The main job, to be looked at: writers that never stop, freeze, snapshot, thaw, and what the copy holds.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;
use stillpoint_tests::comparison::{Row, Window, compare};
use stillpoint_tests::mariadb::{self, MariaDb};
use stillpoint_tests::missing::find;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::volume::Volume;
use stillpoint_tests::writers::{Log, Writers};

use crate::{debian, package, succeed};

/// Which database is shown.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Database {
    /// Embedded: no server.
    Sqlite,
    /// A private server.
    Mariadb,
}

const WRITERS: u32 = 4;

/// How many commits the writers make before, and after.
const COMMITS: usize = 200;

/// Runs it.
pub fn run(database: Database) -> Result<()> {
    let needed: &[(&str, &str)] = match database {
        Database::Sqlite => &[("sqlite3", "sqlite3")],
        Database::Mariadb => &[("mariadbd", "mariadb-server"), ("mkfs.btrfs", "btrfs-progs")],
    };
    let missing: Vec<&str> =
        needed.iter().filter(|(program, _)| find(&[program]).is_none()).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        debian::install(&missing)?;
    }
    stillpoint_tests::dist::packaged(package::run(None)?);
    match database {
        Database::Sqlite => sqlite(),
        Database::Mariadb => mariadb(),
    }
}

fn sqlite() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("stillpoint-demo-").tempdir()?;
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    std::fs::create_dir(&data)?;
    let file = data.join("shop.db");
    sqlite::make(&file, Journal::Wal);
    let site = Site::with(&format!(
        "[workload shop]\nworkload_name = sqlite\ndbnames = {}\nsnapshot = files\n",
        file.display()
    ));
    println!("\n  A SQLite database, {WRITERS} writers that never stop, a copy of its files as the snapshot.\n");
    let writers = sqlite::writers(&file, WRITERS);
    let shown = cycle(&site, writers, || {
        succeed(Command::new("cp").args(["--recursive", "--reflink=auto"]).arg(&data).arg(&copy))
    })?;
    // Panics unless the database says that it is whole.
    let rows = sqlite::rows(&copy.join("shop.db"));
    shown.prove(&rows, "PRAGMA integrity_check says ok")
}

fn mariadb() -> Result<()> {
    // InnoDB flushes pages while commits stand still: its files must be cut at one instant.
    let volume = Volume::make("the demo").context("a volume that can be snapshotted is needed")?;
    let data = volume.data().join("mysql");
    mariadb::fresh("the demo", &data).context("MariaDB is needed")?;
    let server = MariaDb::on(&data, &["--log-bin=binlog"]);
    server.make_table();
    let site = Site::with(&format!(
        "[workload shop]\nworkload_name = mariadb\ncredString = -u root --socket={}\n",
        server.socket().display()
    ));
    println!("\n  A private MariaDB, {WRITERS} writers that never stop, a btrfs snapshot, a second server on it.\n");
    let writers = server.writers(WRITERS);
    let mut copy = None;
    let shown = cycle(&site, writers, || {
        copy = Some(volume.snapshot("copy"));
        Ok(())
    })?;
    drop(server);
    let copy = copy.context("there is no snapshot")?;
    let rows = MariaDb::on(&copy.join("mysql"), &["--log-bin=binlog"]).rows();
    shown.prove(&rows, "CHECK TABLE … EXTENDED says OK")
}

/// What a cycle showed.
struct Shown {
    record: Value,
    log: Log,
    window: Window,
    snapshot: Duration,
}

fn cycle(site: &Site, writers: Writers, snapshot: impl FnOnce() -> Result<()>) -> Result<Shown> {
    writers.get_on(COMMITS);
    site.freeze();
    let frozen = Instant::now();
    snapshot()?;
    let thaw_asked = Instant::now();
    let said = site.json(&["thaw"]);
    writers.get_on(COMMITS);
    let log = writers.stop();
    if said.code != Some(0) {
        bail!("the thaw ended with {:?}: {}", said.code, said.text);
    }
    let window = Window { frozen, thaw_asked };
    Ok(Shown { record: said.json, log, window, snapshot: thaw_asked - frozen })
}

impl Shown {
    /// Prints the timeline, and fails unless the copy is what was promised.
    fn prove(&self, rows: &BTreeSet<Row>, whole: &str) -> Result<()> {
        let workload = &self.record["workloads"][0];
        let phases = &workload["phases"];
        let phase = |name: &str| Duration::from_micros(phases[name].as_u64().unwrap_or_default());
        let line = |name: &str, took: Duration, what: &str| println!("  {name:<9}{:>9}   {what}", time(took));
        println!("  {} {}\n", workload["module"].as_str().unwrap_or("?"), workload["database"].as_str().unwrap_or("?"));
        line("check", phase("check_us"), "would a freeze work?");
        line("prepare", phase("prepare_us"), "the slow part, while everybody writes");
        line("freeze", phase("freeze_us"), "writers wait from here");
        line("hold", phase("held_us"), &format!("the snapshot took {} of this", time(self.snapshot)));
        line("thaw", phase("thaw_us"), "proved that nothing moved, and let go");
        println!();
        let standstill = Duration::from_micros(workload["standstill_us"].as_u64().unwrap_or_default());
        println!("  stood still {}, longest gap that a writer saw {}", time(standstill), time(self.log.longest_gap()));
        for at in workload["point"].as_array().into_iter().flatten() {
            println!("  {} {}", at["name"].as_str().unwrap_or("?"), at["value"].as_str().unwrap_or("?"));
        }
        let differences = compare(&self.log, self.window, rows);
        if !differences.none() {
            bail!("the copy is not what was promised:\n{differences}");
        }
        let before = self.log.commits.iter().filter(|c| c.acknowledged.is_some_and(|a| a < self.window.frozen)).count();
        let after = self.log.commits.iter().filter(|c| c.begun > self.window.frozen).count();
        println!("\n  the copy, opened");
        println!("  ✔ {before} commits were acknowledged before the freeze: all are in it");
        println!("  ✔ {after} commits began after it: none is in it");
        println!("  ✔ {whole}");
        let verdict = self.record["verdict"].as_str().unwrap_or("?");
        println!("\n  ✔ {verdict} ({})\n", self.record["kind"].as_str().unwrap_or("?"));
        Ok(())
    }
}

fn time(t: Duration) -> String {
    let ms = t.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}
