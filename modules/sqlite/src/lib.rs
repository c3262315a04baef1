//! SQLite: a write transaction on each database, held without writing anything.
//!
//! `BEGIN IMMEDIATE` takes the one lock that every writer needs, in WAL mode as with a rollback journal. Readers go on.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The module.
pub struct Sqlite;

impl Workload for Sqlite {
    fn check(cx: &Check) -> Result<()> {
        cx.require(
            !cx.databases().is_empty(),
            "no database is named: list the files under  dbnames =  in the configuration",
        )?;
        for database in cx.databases() {
            // With a rollback journal even a reader waits for who is just committing.
            wait_at_most(cx, database, cx.stall_budget())?;
            cx.version(sql::version(cx, database)?.one()?.version);
            let mode = sql::journal_mode(cx, database)?.one()?.mode;
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
            wait_at_most(cx, database, cx.stall_budget())?;
            // What is moved into the file now need not be recovered from the copy. It is no harm if a reader prevents it.
            sql::checkpoint(cx, database)?;
        }
        Ok(())
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        for (i, database) in cx.databases().iter().enumerate() {
            if i > 0 {
                // The writers of those before wait already: they share one budget.
                wait_at_most(cx, database, clock::remaining().min(cx.stall_budget()))?;
            }
            sql::begin_immediate(cx, database).map_err(|e| {
                let locked = e.message().is_some_and(|m| m.contains("database is locked"));
                if locked {
                    e.context(format_args!(
                        "somebody wrote to {database} for longer than stall_budget allows: run the backup at another \
                         time, or raise stall_budget"
                    ))
                } else {
                    e.context(database)
                }
            })?;
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

fn wait_at_most(cx: &impl stillpoint_sdk::phase::MayRead, database: &str, longest: std::time::Duration) -> Result<()> {
    sql::busy_timeout(cx, database, i64::try_from(longest.as_millis()).unwrap_or(600_000).min(600_000))?;
    Ok(())
}

stillpoint_sdk::export!(Sqlite);

#[cfg(test)]
mod tests {
    use super::Sqlite;
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
        host.remaining(Duration::from_millis(1500));
        host.prepare::<Sqlite>().expect("prepare");
        host.freeze::<Sqlite>().expect("freeze");
        host.thaw::<Sqlite>().expect("thaw");
        assert_eq!(
            host.sent(),
            [
                "busy_timeout@/srv/a.db(5000)",
                "checkpoint@/srv/a.db()",
                "busy_timeout@/srv/b.db(5000)",
                "checkpoint@/srv/b.db()",
                "begin_immediate@/srv/a.db()",
                "busy_timeout@/srv/b.db(1500)",
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
    fn without_databases_the_message_names_the_key() {
        let said = FakeHost::new().check::<Sqlite>().expect_err("refused").to_string();
        assert!(said.contains("dbnames"), "{said}");
    }

    #[test]
    fn a_writer_that_does_not_end_is_explained() {
        let host = two_databases();
        host.fail("begin_immediate", "5", "database is locked");
        let said = host.freeze::<Sqlite>().expect_err("locked").to_string();
        assert!(said.contains("stall_budget") && said.contains("/srv/a.db"), "{said}");
    }
}
