//! The main job, on real databases: writers that never stop, freeze, a snapshot and a block image, thaw; then a second
//! server on each copy, compared with what the writers know.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use stillpoint_tests::comparison::{Row, Window, assert_same};
use stillpoint_tests::folder;
use stillpoint_tests::mariadb::{self, MariaDb};
use stillpoint_tests::program::succeed;
use stillpoint_tests::said::Said;
use stillpoint_tests::site::{Site, recovery_point};
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::volume::{BlockImage, Volume};
use stillpoint_tests::wait_until;
use stillpoint_tests::writers::{Log, Writers};

/// How the agent calls.
#[derive(Clone, Copy)]
enum Agent {
    /// `freeze`, later `thaw`.
    FreezeAndThaw,
    /// `run` round a command.
    Run,
}

/// Where the copies are.
struct Copies {
    volume: Volume,
    snapshot: PathBuf,
    image: BlockImage,
}

/// One cycle as an agent does it. The writers go on after it.
fn cycle(site: &Site, volume: Volume, writers: &Writers, agent: Agent) -> (Said, Window, Copies) {
    writers.get_on(20);
    let (said, window, (image, snapshot)) = match agent {
        Agent::FreezeAndThaw => site.while_frozen(|| volume.image_and_snapshot()),
        Agent::Run => {
            let (begun, cut) = (site.path("begun"), site.path("cut"));
            let script = format!("touch {}; until [ -e {} ]; do sleep 0.01; done", begun.display(), cut.display());
            let running = site.start(&["run", "--", "sh", "-c", &script]);
            wait_until("the command of run begins", || begun.exists());
            let frozen = Instant::now();
            let copies = volume.image_and_snapshot();
            let window = Window { frozen, thaw_asked: Instant::now() };
            std::fs::write(cut, "").unwrap();
            (Said::of(running.end()), window, copies)
        }
    };
    writers.get_on(20);
    (said, window, Copies { volume, snapshot, image })
}

fn assert_still(said: &Said, log: &Log) {
    said.assert_still();
    let stall = log.longest_gap();
    eprintln!("standstill {} µs, longest gap of a writer {stall:?}", said.json["standstill_us"]);
}

/// The recovery point lies inside a copy, and belongs to this cycle.
fn assert_point(said: &Said, data: &Path, workload: &str) {
    let point = recovery_point(&data.join("ipc"), workload);
    assert_eq!(point["cycle"], said.json["cycle"]);
    assert_eq!(point["frozen"], true, "{point}");
    assert_eq!(point["point"], said.json["workloads"][0]["point"]);
}

fn mariadb_comes_to_a_standstill(test: &str, options: &[&str], agent: Agent) {
    let Some(volume) = Volume::make(test) else { return };
    let Some(()) = mariadb::fresh(test, &volume.data().join("mysql")) else { return };
    let server = MariaDb::on(&volume.data().join("mysql"), options);
    server.make_table();
    std::fs::create_dir(volume.data().join("ipc")).unwrap();
    let more = format!("ipc_folder = {}\ntimeout = 60\n", volume.data().join("ipc").display());
    let site = Site::with(&server.configuration(&more));
    let writers = server.writers(4);
    let (said, window, copies) = cycle(&site, volume, &writers, agent);
    let log = writers.stop();
    assert_still(&said, &log);
    drop(server);

    let log_is_on = options.contains(&"--log-bin");
    let coordinates = said.json["workloads"][0]["point"].as_array().map(Vec::len);
    // Where there is a log, it can be rolled forward from here.
    assert_eq!(coordinates, Some(if log_is_on { 3 } else { 0 }), "{}", said.text);
    let read = |data: &Path| {
        assert_point(&said, data, "mariadb");
        MariaDb::on(&data.join("mysql"), options).rows()
    };
    assert_copies(&log, window, copies, read);
}

fn sqlite_comes_to_a_standstill(test: &str, journal: Journal, agent: Agent) {
    let Some(volume) = Volume::make(test) else { return };
    let file = volume.data().join("app.db");
    sqlite::make(&file, journal);
    std::fs::create_dir(volume.data().join("ipc")).unwrap();
    let site = Site::with(&format!(
        "[workload]\nworkload_name = sqlite\ndbnames = {}\nipc_folder = {}\ntimeout = 60\n\
         stall_budget = 30\n",
        file.display(),
        volume.data().join("ipc").display(),
    ));
    // With a rollback journal writers find their turn by chance: more of them only starve each other.
    let writers = sqlite::writers(&file, if journal == Journal::Wal { 4 } else { 2 });
    let (said, window, copies) = cycle(&site, volume, &writers, agent);
    let log = writers.stop();
    assert_still(&said, &log);

    let read = |data: &Path| {
        assert_point(&said, data, "sqlite");
        sqlite::rows(&data.join("app.db"))
    };
    assert_copies(&log, window, copies, read);
}

fn assert_copies(log: &Log, window: Window, copies: Copies, read: impl Fn(&Path) -> BTreeSet<Row>) {
    assert_same("the snapshot", log, window, &read(&copies.snapshot));
    let volume = copies.volume.replaced_by(copies.image);
    assert_same("the block image", log, window, &read(&volume.data()));
}

#[test]
fn mariadb_that_flushes_at_each_commit() {
    mariadb_comes_to_a_standstill("mariadb_that_flushes_at_each_commit", &[], Agent::FreezeAndThaw);
}

/// Its commits are acknowledged long before they are on disk, and the binary log is a second place of truth.
#[test]
fn mariadb_that_flushes_once_a_second_with_a_binary_log() {
    mariadb_comes_to_a_standstill(
        "mariadb_that_flushes_once_a_second_with_a_binary_log",
        &["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-log-at-timeout=2700", "--log-bin", "--sync-binlog=0"],
        Agent::Run,
    );
}

#[test]
fn mariadb_that_writes_its_log_once_a_second() {
    mariadb_comes_to_a_standstill(
        "mariadb_that_writes_its_log_once_a_second",
        &["--innodb-flush-log-at-trx-commit=0"],
        Agent::Run,
    );
}

#[test]
fn sqlite_in_wal_mode() {
    sqlite_comes_to_a_standstill("sqlite_in_wal_mode", Journal::Wal, Agent::FreezeAndThaw);
}

#[test]
fn sqlite_with_a_rollback_journal() {
    sqlite_comes_to_a_standstill("sqlite_with_a_rollback_journal", Journal::Rollback, Agent::Run);
}

/// Commits lie where the redo log lies: that filesystem is synced, too.
#[test]
fn mariadb_whose_redo_log_is_on_another_filesystem() {
    let test = "mariadb_whose_redo_log_is_on_another_filesystem";
    let (Some(data), Some(redo)) = (Volume::make(test), Volume::make(test)) else { return };
    let Some(()) = mariadb::fresh(test, &data.data().join("mysql")) else { return };
    let log = redo.data().join("log");
    succeed(Command::new("install").args(["-d", "-o", "mysql"]).arg(&log), "");
    succeed(Command::new("mv").arg(data.data().join("mysql/ib_logfile0")).arg(&log), "");
    let options = |volume: &Volume| {
        let folder = volume.data().join("log");
        ["--innodb-flush-log-at-trx-commit=2".to_owned(), format!("--innodb-log-group-home-dir={}", folder.display())]
    };
    let start = |data: &Volume, redo: &Volume| {
        let options = options(redo);
        MariaDb::on(&data.data().join("mysql"), &options.each_ref().map(String::as_str))
    };
    let server = start(&data, &redo);
    server.make_table();
    let site = Site::with(&server.configuration(""));
    let writers = server.writers(4);
    writers.get_on(20);
    let (said, window, images) = site.while_frozen(|| (data.block_image(), redo.block_image()));
    writers.get_on(20);
    let log = writers.stop();
    assert_still(&said, &log);
    drop(server);
    let (data, redo) = (data.replaced_by(images.0), redo.replaced_by(images.1));
    assert_same("the image", &log, window, &start(&data, &redo).rows());
}

/// All workloads stand still together, and the cycle's verdict speaks for all.
#[test]
fn two_databases_at_once() {
    let test = "two_databases_at_once";
    let Some(volume) = Volume::make(test) else { return };
    let Some(()) = mariadb::fresh(test, &volume.data().join("mysql")) else { return };
    let server = MariaDb::on(&volume.data().join("mysql"), &[]);
    server.make_table();
    let (orders, stock) = (volume.data().join("orders.db"), volume.data().join("stock.db"));
    sqlite::make(&orders, Journal::Wal);
    sqlite::make(&stock, Journal::Rollback);
    let site = Site::with(&format!(
        "[workload shop]\nworkload_name = mariadb\ncredString = -u root --socket={}\n\
         [workload files]\nworkload_name = sqlite\ndbnames = {}, {}\nstall_budget = 30\n",
        server.socket().display(),
        orders.display(),
        stock.display(),
    ));
    let all = [server.writers(2), sqlite::writers(&orders, 2), sqlite::writers(&stock, 1)];
    all.iter().for_each(|w| w.get_on(20));
    let (said, window, snapshot) = site.while_frozen(|| volume.snapshot("copy"));
    all.iter().for_each(|w| w.get_on(20));
    let logs = all.map(Writers::stop);
    logs.iter().for_each(|log| assert_still(&said, log));
    assert_same("the copy of shop", &logs[0], window, &MariaDb::on(&snapshot.join("mysql"), &[]).rows());
    assert_same("the copy of orders", &logs[1], window, &sqlite::rows(&snapshot.join("orders.db")));
    assert_same("the copy of stock", &logs[2], window, &sqlite::rows(&snapshot.join("stock.db")));
}

/// Commits stand still, and InnoDB does not: a transaction that is open goes on writing. So a copy of files is not believed,
/// and this one, taken as if it could be, has lost its data.
#[test]
fn mariadb_copied_file_by_file_is_told_to_be_no_more_than_a_crash() {
    let test = "mariadb_copied_file_by_file_is_told_to_be_no_more_than_a_crash";
    let Some(server) = MariaDb::private(test, &["--innodb-log-file-size=4M"]) else { return };
    server.make_table();
    server.sql("CREATE TABLE app.big (id INT PRIMARY KEY, text LONGBLOB) ENGINE = InnoDB;");
    server.sql("INSERT INTO app.writes VALUES (1, 1);");
    let configuration = server.configuration("timeout = 60\n");
    for kind in ["per-volume", "files"] {
        let site = Site::with(&format!("{configuration}snapshot = {kind}\n"));
        let said = site.json(&["run", "--", "true"]);
        said.assert_crash_consistent();
        let told = said.json["workloads"][0]["findings"].to_string();
        assert!(told.contains("the verdict will be crash-consistent"), "{told}");
    }

    let site = Site::with(&configuration);
    let mut open = server.open();
    open.say("START TRANSACTION; INSERT INTO app.big VALUES (0, 'x');");
    site.freeze();
    let copy = folder::with_mode(0o755);
    let data = copy.path().join("data");
    succeed(Command::new("install").args(["-d", "-o", "mysql", "-g", "mysql"]).arg(&data), "");
    let part = |which: &str| folder::copy_those(which, server.data(), &data);
    part("ib_logfile0");
    // More than the redo log holds: its begin is overwritten, and pages are written out.
    for id in 1..=12 {
        open.say(&format!("INSERT INTO app.big VALUES ({id}, REPEAT(MD5(RAND()), 32768));"));
    }
    part("ib_logfile0) ;; *");
    let said = site.json(&["thaw"]);
    assert_eq!(said.json["kind"], "still", "{}", said.text);
    drop(open);
    let lost = match MariaDb::try_on(&data, &["--innodb-log-file-size=4M"]) {
        Err(why) => why,
        Ok(server) => server.try_sql("CHECK TABLE app.big, app.writes;").stdout,
    };
    let words = ["Missing FILE_CHECKPOINT", "corrupt", "Corrupt", "log sequence number", "is in the future"];
    assert!(words.iter().any(|w| lost.contains(w)), "the copy is whole, so this shows nothing: {lost}");
}
