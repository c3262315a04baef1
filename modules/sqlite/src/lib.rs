//! SQLite: a write transaction on each database, held without writing anything.
//!
//! `BEGIN IMMEDIATE` takes the one lock that every writer needs, in WAL mode as with a rollback journal. Readers go on.

use std::cell::Cell;
use std::time::Duration;

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The module.
pub struct Sqlite;

/// How long SQLite itself waits for a lock, in milliseconds. Left alone it looks less and less often, up to every 100 ms, and
/// never gets its turn beside applications that write all the time; so it is asked again and again instead. Who commits without
/// a pause, and syncs each commit, leaves the lock free for some ten microseconds at a time: there every nap is a turn missed.
const NO_NAP: i64 = 0;
/// Who does not commit holds the lock for longer.
const NAP: i64 = 8;

/// So often a freeze asks without any nap, about, and so often with naps in what is left of its time: a module may not send any
/// number of statements.
const QUICK_TRIES: u32 = 4000;
const CALM_TRIES: i64 = 2000;

/// Who commits at all does so within this time.
const COMMITS: Duration = Duration::from_millis(100);

/// How long a lock to which nobody commits is waited for while others are held, at first. An application that writes to
/// several databases in one transaction may have locked this one and wait for ours; then both would wait in vain.
const PATIENCE: Duration = Duration::from_millis(250);

/// What must be left for the host: to take back, or to prove that it holds.
const LEFT: Duration = Duration::from_millis(200);

impl Workload for Sqlite {
    fn check(cx: &Check) -> Result<()> {
        cx.require(
            !cx.databases().is_empty(),
            "no database is named: list the files under  dbnames =  in the configuration",
        )?;
        for database in cx.databases() {
            sql::busy_timeout(cx, database, nap(cx.stall_budget()))?;
            cx.version(sql::version(cx, database)?.one()?.version);
            // With a rollback journal even a reader waits for who is just committing.
            let mode = patiently(cx.stall_budget(), || sql::journal_mode(cx, database)?.one());
            let mode = mode.map_err(|e| e.context(database))?.mode;
            if mode == "off" || mode == "memory" {
                cx.warn(format_args!(
                    "{database} keeps its journal nowhere on disk (journal_mode = {mode}): this copy will be whole, \
                     but a crash of the application can still damage the database itself"
                ));
            }
        }
        Ok(())
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        for database in cx.databases() {
            // What is moved into the file now need not be recovered from the copy. It is no harm if somebody prevents it.
            if let Err(e) = sql::checkpoint(cx, database)
                && !is_busy(&e)
            {
                return Err(e.context(database));
            }
            sql::busy_timeout(cx, database, NO_NAP)?;
        }
        Ok(())
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        let mut order: Vec<&String> = cx.databases().iter().collect();
        let (mut patience, tries) = (PATIENCE, Cell::new(0));
        while let Some((busy, error)) = freeze_in(cx, &order, patience, &tries) {
            if busy == 0 || !is_busy(&error) || clock::remaining() < LEFT {
                let database = order[busy];
                return Err(if is_busy(&error) {
                    error.context(format_args!(
                        "{database} was locked by somebody else until stall_budget was over: see what holds it, run \
                         the backup at another time, or raise stall_budget (and timeout above it)"
                    ))
                } else {
                    error.context(database)
                });
            }
            // Who holds this one may wait for one that we hold: let go, and begin with this one.
            for database in order[..busy].iter().rev() {
                sql::rollback(cx, database)?;
            }
            order[..=busy].rotate_right(1);
            patience *= 2;
        }
        // SQLite has no log that could be rolled forward: the snapshot itself is the point.
        Ok(RecoveryPoint::new())
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        for database in cx.databases().iter().rev() {
            sql::rollback(cx, database)?;
        }
        Ok(())
    }
}

/// Locks them one after the other; gives the place of one that could not be, and why.
fn freeze_in(cx: &Freeze, order: &[&String], patience: Duration, tries: &Cell<u32>) -> Option<(usize, Error)> {
    let mut all = order.iter().enumerate();
    all.find_map(|(place, database)| {
        let beside = (place > 0).then_some(patience);
        lock(cx, database, beside, tries).err().map(|error| (place, error))
    })
}

/// Locks one. Beside others that are held it does not wait longer than this for one to which nobody commits: its lock need not
/// come free.
fn lock(cx: &Freeze, database: &str, beside: Option<Duration>, tries: &Cell<u32>) -> Result<()> {
    let (mut before, mut quiet) = (None, Duration::ZERO);
    loop {
        let locked = patiently(COMMITS, || {
            tries.set(tries.get() + 1);
            sql::begin_immediate(cx, database)
        });
        match locked {
            Err(e) if is_busy(&e) && clock::remaining() >= LEFT => {
                // Who is just committing locks readers out, too.
                let now = sql::data_version(cx, database).and_then(|rows| rows.one()).ok().map(|row| row.version);
                let commits = now.is_none() || now != before;
                quiet = if commits { Duration::ZERO } else { quiet + COMMITS };
                if beside.is_some_and(|longest| quiet >= longest) {
                    return Err(e);
                }
                let calm = nap(clock::remaining());
                let nap = match (commits, tries.get()) {
                    (true, ..QUICK_TRIES) => NO_NAP,
                    (true, _) => calm,
                    (false, _) => calm.max(NAP),
                };
                sql::busy_timeout(cx, database, nap)?;
                before = now;
            }
            other => return other,
        }
    }
}

/// How long to wait each time, in milliseconds, where so much time is left.
fn nap(left: Duration) -> i64 {
    (i64::try_from(left.as_millis()).unwrap_or(i64::MAX) / CALM_TRIES).max(1)
}

/// `SQLITE_BUSY`: somebody else holds the lock.
fn is_busy(error: &Error) -> bool {
    error.code() == Some("5")
}

/// Asks again while the database is locked, for this long, and never to the very end of the phase.
fn patiently<T>(longest: Duration, mut statement: impl FnMut() -> Result<T>) -> Result<T> {
    let end = clock::remaining().saturating_sub(longest).max(LEFT);
    loop {
        match statement() {
            Err(e) if is_busy(&e) && clock::remaining() > end => {}
            other => return other,
        }
    }
}

stillpoint_sdk::export!(Sqlite);

#[cfg(test)]
mod tests {
    use super::{QUICK_TRIES, Sqlite};
    use std::time::Duration;
    use stillpoint_sdk::{Level, fake::FakeHost, row};

    fn two_databases() -> FakeHost {
        let mut host = FakeHost::new();
        host.plan().databases = vec!["/srv/a.db".into(), "/srv/b.db".into()];
        host.answer("version", [row!["3.40.1"]]).answer("journal_mode", [row!["wal"]]);
        host
    }

    #[test]
    fn every_database_is_frozen_and_thawed_in_reverse() {
        let host = two_databases();
        host.prepare::<Sqlite>().expect("prepare");
        host.freeze::<Sqlite>().expect("freeze");
        host.thaw::<Sqlite>().expect("thaw");
        assert_eq!(
            host.sent(),
            [
                "checkpoint@/srv/a.db()",
                "busy_timeout@/srv/a.db(0)",
                "checkpoint@/srv/b.db()",
                "busy_timeout@/srv/b.db(0)",
                "begin_immediate@/srv/a.db()",
                "begin_immediate@/srv/b.db()",
                "rollback@/srv/b.db()",
                "rollback@/srv/a.db()",
            ]
        );
    }

    #[test]
    fn a_journal_in_memory_is_warned_of() {
        let mut host = FakeHost::new();
        host.plan().databases = vec!["/srv/a.db".into()];
        host.answer("version", [row!["3.40.1"]]).answer("journal_mode", [row!["memory"]]);
        let report = host.check::<Sqlite>().expect("check");
        assert_eq!(report.version, "3.40.1");
        assert!(matches!(report.findings.as_slice(), [f] if f.level == Level::Warning));
    }

    #[test]
    fn it_is_asked_again_while_somebody_writes() {
        let host = two_databases();
        host.fail("begin_immediate", "5", "database is locked").answer("begin_immediate", []);
        host.freeze::<Sqlite>().expect("freeze");
        let sent = host.sent();
        assert_eq!(sent.iter().filter(|s| s.starts_with("begin_immediate@/srv/a.db")).count(), 2, "{sent:?}");
    }

    #[test]
    fn who_commits_is_asked_without_a_nap_for_a_while_and_who_does_not_is_asked_calmly() {
        let naps = |tries: u32, version: [i64; 2]| {
            let host = two_databases();
            // The clock of this host stands: so little is left that it is looked who commits after each try.
            host.remaining(Duration::from_millis(200));
            for _ in 0..tries {
                host.fail("begin_immediate", "5", "database is locked");
            }
            host.answer("begin_immediate", []);
            for n in 0..tries {
                host.answer("data_version", [row![version[n as usize % 2]]]);
            }
            host.freeze::<Sqlite>().expect("freeze");
            let sent = host.sent();
            sent.into_iter().rfind(|s| s.starts_with("busy_timeout")).expect("it naps, or does not")
        };
        assert_eq!(naps(10, [1, 2]), "busy_timeout@/srv/a.db(0)");
        assert_eq!(naps(QUICK_TRIES, [1, 2]), "busy_timeout@/srv/a.db(1)");
        assert_eq!(naps(10, [1, 1]), "busy_timeout@/srv/a.db(8)");
    }

    #[test]
    fn what_is_held_is_let_go_for_one_that_is_locked() {
        let host = two_databases();
        host.answer("begin_immediate", []);
        // PATIENCE is three looks after the first.
        for _ in 0..4 {
            host.fail("begin_immediate", "5", "database is locked");
        }
        host.answer("data_version", [row![7]]);
        // The clock of this host stands: so little is left that nothing is asked twice.
        host.answer("begin_immediate", []).remaining(Duration::from_millis(200));
        host.freeze::<Sqlite>().expect("freeze");
        assert_eq!(
            host.sent(),
            [
                "begin_immediate@/srv/a.db()",
                "begin_immediate@/srv/b.db()",
                "data_version@/srv/b.db()",
                "busy_timeout@/srv/b.db(0)",
                "begin_immediate@/srv/b.db()",
                "data_version@/srv/b.db()",
                "busy_timeout@/srv/b.db(8)",
                "begin_immediate@/srv/b.db()",
                "data_version@/srv/b.db()",
                "busy_timeout@/srv/b.db(8)",
                "begin_immediate@/srv/b.db()",
                "data_version@/srv/b.db()",
                "rollback@/srv/a.db()",
                "begin_immediate@/srv/b.db()",
                "begin_immediate@/srv/a.db()",
            ]
        );
    }

    #[test]
    fn without_databases_the_message_names_the_key() {
        let said = FakeHost::new().check::<Sqlite>().expect_err("refused").to_string();
        assert!(said.contains("dbnames"), "{said}");
    }

    #[test]
    fn a_writer_that_does_not_end_is_explained() {
        let host = two_databases();
        host.fail("begin_immediate", "5", "database is locked").remaining(Duration::from_millis(100));
        let said = host.freeze::<Sqlite>().expect_err("locked").to_string();
        assert!(said.contains("stall_budget") && said.contains("/srv/a.db"), "{said}");
    }
}
