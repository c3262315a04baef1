//! A hundred cycles, one after the other, of each database under writers at full speed: each snapshot and each block image is
//! opened and compared, and the machine then goes on from the block image, as after a loss of power.
//!
//! It takes minutes for each database, so it is not in the plain test command:
//! `cargo test -p stillpoint-tests --test hundred -- --ignored`, with STILLPOINT_CYCLES for another number.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use stillpoint_tests::comparison::{Row, Window, assert_recovered, assert_same};
use stillpoint_tests::firebird::{self, Firebird};
use stillpoint_tests::mariadb::{self, MariaDb};
use stillpoint_tests::postgres::{self, Postgres};
use stillpoint_tests::program::succeed;
use stillpoint_tests::redis::{Programs, Redis};
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::volume::Volume;
use stillpoint_tests::writers::{Log, Writers};

/// What a verdict promises of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// All that was acknowledged before the freeze, and nothing that began after it.
    Still,
    /// All that was acknowledged before the freeze, and of each writer nothing without what came before it.
    Recoverable,
    /// The same, of when the freeze was begun: what is written while it is taken lies beside the database, and is not in the
    /// copy that counts.
    Begun,
}

/// A database under way, on a folder.
trait Database {
    /// Its section in the configuration.
    fn configuration(&self) -> String;
    /// Takes away what the last cycle's writers wrote.
    fn empty(&self);
    fn writers(&self) -> Writers;
    fn rows(&self) -> BTreeSet<Row>;
}

/// As many cycles, one after the other.
fn cycles(test: &str, promise: Promise, make: &dyn Fn(&Path) -> Option<()>, open: &dyn Fn(&Path) -> Box<dyn Database>) {
    let count: usize = std::env::var("STILLPOINT_CYCLES").map_or(100, |n| n.parse().unwrap());
    let Some(mut volume) = Volume::make(test) else { return };
    let Some(()) = make(&volume.data()) else { return };
    let mut database = open(&volume.data());
    let site = Site::new();
    let mut standstills = Vec::new();
    let mut commits = 0;
    for cycle in 1..=count {
        database.empty();
        site.configure(&database.configuration());
        let writers = database.writers();
        writers.get_on(10);
        let asked = Instant::now();
        let (said, window, (image, snapshot)) = site.while_frozen(|| volume.image_and_snapshot());
        writers.get_on(5);
        let log = writers.stop();
        assert_eq!(said.code, Some(0), "cycle {cycle}: {}", said.text);
        let kind = if promise == Promise::Still { "still" } else { "recoverable" };
        assert_eq!(said.json["kind"], kind, "cycle {cycle}: {}", said.text);
        let took = if promise == Promise::Still { &said.json["standstill_us"] } else { &said.json["frozen_us"] };
        standstills.push(took.as_u64().unwrap());
        commits += log.acknowledged();
        drop(database);
        let copy = open(&snapshot);
        assert_kept(&format!("the snapshot of cycle {cycle}"), promise, &log, asked, window, &copy.rows());
        drop(copy);
        succeed(Command::new("btrfs").args(["-q", "subvolume", "delete"]).arg(&snapshot), "");
        volume = volume.replaced_by(image);
        database = open(&volume.data());
        assert_kept(&format!("the block image of cycle {cycle}"), promise, &log, asked, window, &database.rows());
    }
    drop(database);
    standstills.sort_unstable();
    let (median, worst) = (standstills[standstills.len() / 2], standstills.last().unwrap());
    println!(
        "{test}: {count} cycles, {commits} commits, {promise:?}, held {median} µs in the median, {worst} µs at most"
    );
}

fn assert_kept(what: &str, promise: Promise, log: &Log, asked: Instant, window: Window, rows: &BTreeSet<Row>) {
    match promise {
        Promise::Still => assert_same(what, log, window, rows),
        Promise::Recoverable => assert_recovered(what, log, window.frozen, window.thaw_asked, rows),
        Promise::Begun => assert_recovered(what, log, asked, window.frozen, rows),
    }
}

/// MariaDB, or MySQL.
impl Database for MariaDb {
    fn configuration(&self) -> String {
        self.configuration("")
    }

    fn empty(&self) {
        self.sql("TRUNCATE TABLE app.writes;");
    }

    fn writers(&self) -> Writers {
        self.writers(4)
    }

    fn rows(&self) -> BTreeSet<Row> {
        self.rows()
    }
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_cycles_of_mariadb() {
    let make = |folder: &Path| {
        mariadb::fresh("a_hundred_cycles_of_mariadb", &folder.join("db"))?;
        MariaDb::on(&folder.join("db"), &[]).make_table();
        Some(())
    };
    cycles("a_hundred_cycles_of_mariadb", Promise::Still, &make, &|folder| {
        Box::new(MariaDb::on(&folder.join("db"), &["--log-bin=binlog"]))
    });
}

/// With a table that is not InnoDB's, or without.
fn mysql(test: &str, promise: Promise) {
    let Some(programs) = stillpoint_tests::mysql::programs(test) else { return };
    let open = |folder: &Path| programs.on(&folder.join("db"), &[]);
    let make = |folder: &Path| {
        programs.fresh(&folder.join("db"));
        let server = open(folder);
        server.make_table();
        if promise == Promise::Still {
            server.sql("CREATE TABLE app.plain (a INT) ENGINE = MyISAM;");
        }
        // What is made once is written out once.
        server.sql("FLUSH TABLES;");
        succeed(Command::new("sync").arg("--file-system").arg(folder), "");
        Some(())
    };
    cycles(test, promise, &make, &|folder| Box::new(open(folder)));
}

#[test]
#[ignore = "takes minutes, and MySQL 9"]
fn a_hundred_cycles_of_mysql_while_nobody_waits() {
    mysql("a_hundred_cycles_of_mysql_while_nobody_waits", Promise::Recoverable);
}

#[test]
#[ignore = "takes minutes, and MySQL 9"]
fn a_hundred_cycles_of_mysql_while_writers_wait() {
    mysql("a_hundred_cycles_of_mysql_while_writers_wait", Promise::Still);
}

impl Database for Postgres {
    fn configuration(&self) -> String {
        self.configuration("")
    }

    fn empty(&self) {
        self.sql("TRUNCATE TABLE writes;");
    }

    fn writers(&self) -> Writers {
        self.writers(4)
    }

    fn rows(&self) -> BTreeSet<Row> {
        self.rows()
    }
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_cycles_of_postgres() {
    let make = |folder: &Path| {
        postgres::fresh("a_hundred_cycles_of_postgres", &folder.join("db"))?;
        Postgres::on(&folder.join("db"), &[]).make_table();
        Some(())
    };
    cycles("a_hundred_cycles_of_postgres", Promise::Recoverable, &make, &|folder| {
        Box::new(Postgres::on(&folder.join("db"), &[]))
    });
}

impl Database for Redis {
    fn configuration(&self) -> String {
        self.configuration("")
    }

    fn empty(&self) {
        self.say("FLUSHALL");
    }

    fn writers(&self) -> Writers {
        self.writers(4)
    }

    fn rows(&self) -> BTreeSet<Row> {
        self.rows()
    }
}

fn redis(test: &str, settings: &'static [(&'static str, &'static str)]) {
    let Some(programs) = Programs::find(test) else { return };
    let open = |folder: &Path| Redis::on(&programs, &folder.join("db"), settings);
    // One that never saved is refused: it may be a cache.
    let make = |folder: &Path| {
        open(folder).say("SET something there\nSAVE");
        Some(())
    };
    cycles(test, Promise::Still, &make, &|folder| Box::new(open(folder)));
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_cycles_of_redis_with_its_log() {
    redis("a_hundred_cycles_of_redis_with_its_log", &[("appendonly", "yes")]);
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_cycles_of_redis_with_its_dump() {
    redis("a_hundred_cycles_of_redis_with_its_dump", &[("save", "3600 1")]);
}

/// A server of its own, and its one database.
struct InFirebird {
    server: Firebird,
    database: PathBuf,
}

impl InFirebird {
    /// Opens what a snapshot or a loss of power left, as its recipe does: the file alone, which stood still.
    fn open(test: &str, folder: &Path) -> InFirebird {
        let server = Firebird::private(test).unwrap();
        let database = folder.join("db/a.fdb");
        // Before the server has seen it, which may keep what it saw for a moment after its last client is gone.
        if std::fs::remove_file(firebird::delta(&database)).is_ok() {
            server.nbackup("-F", &database);
            server.sql(&database, "ALTER DATABASE BEGIN BACKUP; ALTER DATABASE END BACKUP;");
        }
        InFirebird { server, database }
    }
}

impl Database for InFirebird {
    fn configuration(&self) -> String {
        self.server.configuration(&[&self.database], "")
    }

    fn empty(&self) {
        self.server.sql(&self.database, "DELETE FROM writes;");
    }

    fn writers(&self) -> Writers {
        self.server.writers(&self.database, 3)
    }

    fn rows(&self) -> BTreeSet<Row> {
        self.server.rows(&self.database)
    }
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_cycles_of_firebird() {
    let test = "a_hundred_cycles_of_firebird";
    let make = |folder: &Path| {
        let server = Firebird::private(test)?;
        firebird::folder(&folder.join("db"));
        server.make(&folder.join("db/a.fdb"));
        Some(())
    };
    cycles(test, Promise::Begun, &make, &|folder| Box::new(InFirebird::open(test, folder)));
}

/// A database that is a file.
struct File(PathBuf);

impl Database for File {
    fn configuration(&self) -> String {
        format!("[workload]\nworkload_name = sqlite\ndbnames = {}\n", self.0.display())
    }

    fn empty(&self) {
        succeed(Command::new("sqlite3").arg(&self.0).arg("DELETE FROM writes;"), "");
    }

    fn writers(&self) -> Writers {
        sqlite::writers(&self.0, 4)
    }

    fn rows(&self) -> BTreeSet<Row> {
        sqlite::rows(&self.0)
    }
}

fn of_sqlite(test: &str, journal: Journal) {
    let make = |folder: &Path| {
        sqlite::make(&folder.join("app.db"), journal);
        Some(())
    };
    cycles(test, Promise::Still, &make, &|folder| Box::new(File(folder.join("app.db"))));
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_cycles_of_sqlite_in_wal_mode() {
    of_sqlite("a_hundred_cycles_of_sqlite_in_wal_mode", Journal::Wal);
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_cycles_of_sqlite_with_a_rollback_journal() {
    of_sqlite("a_hundred_cycles_of_sqlite_with_a_rollback_journal", Journal::Rollback);
}
