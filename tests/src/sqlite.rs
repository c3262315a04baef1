//! A SQLite database and its writers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use crate::comparison::Row;
use crate::writers::{Write, Writers};

/// How a database keeps its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// `journal_mode = WAL`, `synchronous = NORMAL`: a commit is acknowledged before it is on disk.
    Wal,
    /// `journal_mode = DELETE`, `synchronous = FULL`.
    Rollback,
}

/// Makes a database with the table that the writers fill.
///
/// # Panics
/// When it cannot be made.
pub fn make(file: &Path, journal: Journal) {
    let connection = Connection::open(file).unwrap();
    let mode = match journal {
        Journal::Wal => "WAL",
        Journal::Rollback => "DELETE",
    };
    connection.pragma_update(None, "journal_mode", mode).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE writes (writer INTEGER, sequence INTEGER, PRIMARY KEY (writer, sequence)) WITHOUT ROWID;",
        )
        .unwrap();
}

/// Starts writers on a database.
///
/// # Panics
/// When it cannot be opened.
pub fn writers(file: &Path, count: u32) -> Writers {
    Writers::start(count, |writer, stop| write(Connection::open(file).unwrap(), writer, stop))
}

/// Writers that never move the log into the file: SQLite syncs both when it does.
///
/// # Panics
/// When it cannot be opened.
pub fn writers_without_checkpoints(file: &Path, count: u32) -> Writers {
    Writers::start(count, |writer, stop| {
        let connection = Connection::open(file).unwrap();
        connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        write(connection, writer, stop)
    })
}

fn write(mut connection: Connection, writer: u32, stop: Arc<AtomicBool>) -> Write {
    let wal = connection.query_row("PRAGMA journal_mode", (), |row| row.get::<_, String>(0)).unwrap() == "wal";
    connection.pragma_update(None, "synchronous", if wal { "NORMAL" } else { "FULL" }).unwrap();
    wait_as_long_as_it_takes(&mut connection, stop);
    Box::new(move |sequence| {
        let mut insert = connection.prepare_cached("INSERT INTO writes VALUES (?1, ?2)").map_err(|e| e.to_string())?;
        insert.execute((writer, sequence.cast_signed())).map(drop).map_err(|e| e.to_string())
    })
}

/// Has it wait for locks until it is told to stop. An application's `busy_timeout` sleeps for up to 100 ms; this one looks
/// again at once, so the gap is the database's.
///
/// # Panics
/// When that cannot be set.
pub fn wait_as_long_as_it_takes(connection: &mut Connection, stop: Arc<AtomicBool>) {
    connection
        .busy_handler(Some(move |_| {
            std::thread::sleep(Duration::from_micros(500));
            !stop.load(Ordering::Relaxed)
        }))
        .unwrap();
}

/// The rows of a copy, after its integrity check.
///
/// # Panics
/// When the check fails.
pub fn rows(file: &Path) -> BTreeSet<Row> {
    let connection = Connection::open(file).unwrap();
    let whole: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok", "the integrity check of {}", file.display());
    let mut select = connection.prepare("SELECT writer, sequence FROM writes").unwrap();
    let rows = select.query_map((), |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Holds the lock that stops writers, until it is dropped. It syncs nothing.
///
/// # Panics
/// When it is not given.
pub fn lock(file: &Path) -> Connection {
    let mut connection = Connection::open(file).unwrap();
    connection
        .busy_handler(Some(|tries| {
            std::thread::sleep(Duration::from_micros(100));
            tries < 100_000
        }))
        .unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

/// Whether a writer would have to wait.
///
/// # Panics
/// When the file cannot be opened.
pub fn is_locked(file: &Path) -> bool {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
}
