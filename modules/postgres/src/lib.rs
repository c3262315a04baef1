//! PostgreSQL 15 and later, in its backup mode (`pg_backup_start`), which lasts as long as one session and stops nothing.

use std::time::Duration;

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// A statement or a transaction that is older than this is worth a line in the report, in seconds.
const LONG: i64 = 30;

/// What must be left for the host: to end what the server gave up, or to prove that it holds.
const LEFT: Duration = Duration::from_millis(300);

/// `query_canceled`: here, by `statement_timeout`.
const CANCELED: &str = "57014";

/// The module.
pub struct Postgres;

impl Workload for Postgres {
    fn check(cx: &Check) -> Result<()> {
        let version = sql::version(cx)?.one()?;
        cx.version(version.text.clone());
        cx.require(
            version.number >= 150_000,
            format_args!("pg_backup_start needs PostgreSQL 15 or later; this is {}", version.text),
        )?;
        let settings = sql::settings(cx)?.one()?;
        let standby = settings.standby == "t";
        let apart = cx.snapshot() != Snapshot::Atomic;
        if standby {
            cx.note("this is a standby: the snapshot holds what it has replayed, and starts as a standby again");
        }
        if settings.fsync != "on" {
            cx.problem(
                "fsync = off: pages may reach the disk before the log that belongs to them, so a snapshot can be beyond \
                 repair, as after a loss of power; set it to on",
            );
        }
        if settings.full_page_writes != "on" && standby {
            cx.warn("full_page_writes = off: where the primary has it off too, a standby refuses its backup mode");
        } else if settings.full_page_writes != "on" {
            cx.note("full_page_writes = off: the server writes full pages all the same while the backup mode lasts");
        }
        if settings.synchronous_commit == "off" {
            cx.note(
                "synchronous_commit = off: the freeze waits until all that was acknowledged before the recovery point is on \
                 disk, at most three times wal_writer_delay. What is acknowledged later may be missing in the snapshot",
            );
        }
        if settings.wal_level == "minimal" {
            cx.problem(
                "wal_level = minimal: the server refuses its backup mode; set it to replica or logical, and restart it",
            );
        } else if settings.archive_mode == "off" && apart {
            cx.problem(
                "archive_mode = off: a copy of more than one instant is whole only with the log from its begin to its end, \
                 which nobody keeps; archive it, or take an atomic snapshot",
            );
        } else if settings.archive_mode == "off" {
            cx.note("archive_mode = off: the snapshot can be restored, but not rolled forward");
        }
        if let Some(failed) = sql::archiver_fails(cx)?.first() {
            let text = format!(
                "the archiver fails: {} was tried last at {} and not archived. The log is kept until it is, and the \
                 snapshot cannot be rolled forward beyond it",
                failed.file, failed.at
            );
            if apart { cx.problem(text) } else { cx.warn(text) }
        }
        for s in sql::long_statements(cx, LONG)? {
            cx.note(format_args!("process {} has been running one statement for {} s", s.pid, s.seconds));
        }
        for t in sql::idle_transactions(cx, LONG)? {
            cx.note(format_args!(
                "process {} is idle in a transaction that began {} s ago: what it wrote is not in the snapshot",
                t.pid, t.seconds
            ));
        }
        for t in sql::tablespaces(cx)? {
            cx.note(format_args!(
                "tablespace {} lies in {}: it must be in the same snapshot, at the same instant",
                t.name, t.path
            ));
        }
        Ok(())
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        sql::stay_connected(cx)?;
        sql::stay_connected_too(cx)?;
        // The server gives up before the host does, which counts `timeout` from this freeze on.
        let longest = clock::remaining().min(cx.timeout()).saturating_sub(LEFT);
        sql::statement_timeout(cx, milliseconds(longest))?;
        sql::backup_start(cx, &label(cx.cycle())).map_err(waited)?;
        sql::statement_timeout(cx, milliseconds(cx.stall_budget()))
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        let position = sql::position(cx)?.one()?;
        let mut point = RecoveryPoint::new()
            .and("lsn", &position.lsn)
            .and("timeline", position.timeline)
            .and("system identifier", &position.system)
            .and("major version", position.major);
        if position.standby == "f" {
            log_is_on_disk(cx, &position.lsn)?;
            point = point.and("wal file", &sql::log_file(cx, &position.lsn)?.one()?.file);
        }
        Ok(point)
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        // Its label and where the backup ends are known only now, so they are in no snapshot: the host keeps them.
        sql::backup_stop(cx).map(drop)
    }
}

/// Waits until every commit is on disk that was acknowledged before this place in the log: with
/// `synchronous_commit = off` the server acknowledges first, and writes within three rounds of its own writer.
fn log_is_on_disk(cx: &Freeze, lsn: &str) -> Result<()> {
    let began = clock::remaining();
    let mut nap = Duration::from_millis(1);
    loop {
        let now = sql::flushed(cx, lsn)?.one()?;
        let longest = Duration::from_millis(u64::try_from(now.milliseconds).unwrap_or_default());
        let left = clock::remaining();
        // Later than that only what is not committed is still in memory.
        if now.flushed == "t" || began.saturating_sub(left) > longest {
            return Ok(());
        }
        if left < LEFT {
            return Err(Error::new(
                "commits that were acknowledged may still be in the server's memory alone (synchronous_commit = off): \
                 raise stall_budget above three times wal_writer_delay",
            ));
        }
        // Whoever else is in this cycle waits meanwhile; and where it takes long, a busy server is not asked all the time.
        clock::sleep(nap);
        nap = (2 * nap).min(Duration::from_millis(20));
    }
}

/// What the backup is called: in the label, and in the server's own log of checkpoints.
fn label(cycle: &str) -> String {
    format!("stillpoint {cycle}")
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).clamp(100, 3_600_000)
}

fn waited(error: Error) -> Error {
    match error.code() {
        Some(CANCELED) => error.context(
            "the checkpoint that a backup begins with was not done in time: the disks are busy, or very much was to be \
             written. Run the backup when less is written",
        ),
        _ => error,
    }
}

stillpoint_sdk::export!(Postgres);

#[cfg(test)]
mod tests {
    use super::Postgres;
    use stillpoint_sdk::{fake::FakeHost, row};

    const LABEL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nLABEL: stillpoint\n";

    fn server(number: i64) -> FakeHost {
        let host = FakeHost::new();
        host.answer("version", [row![number, "PostgreSQL"]])
            .answer("settings", [row!["f", "replica", "on", "on", "on", "on"]])
            .answer("backup_start", [row!["0/2000028"]])
            .answer("position", [row!["0/20001B0", "f", 1, "7711762001898283270", 15]])
            .answer("flushed", [row!["f", 600]])
            .answer("flushed", [row!["t", 600]])
            .answer("log_file", [row!["000000010000000000000002"]])
            .answer("backup_stop", [row![LABEL, "", "0/20002F8"]]);
        host
    }

    #[test]
    fn a_cycle_holds_the_backup_mode_and_gives_the_point() {
        let host = server(150_020);
        host.prepare::<Postgres>().expect("prepare");
        let point = host.freeze::<Postgres>().expect("freeze");
        host.thaw::<Postgres>().expect("thaw");
        let sent = host.sent();
        let names: Vec<&str> = sent.iter().filter_map(|s| s.split('(').next()).collect();
        assert_eq!(
            names,
            [
                "stay_connected",
                "stay_connected_too",
                "statement_timeout",
                "backup_start",
                "statement_timeout",
                "position",
                "flushed",
                "flushed",
                "log_file",
                "backup_stop",
            ]
        );
        let point: Vec<_> = point.coordinates().collect();
        assert_eq!(
            point,
            [
                ("lsn", "0/20001B0"),
                ("timeline", "1"),
                ("system identifier", "7711762001898283270"),
                ("major version", "15"),
                ("wal file", "000000010000000000000002"),
            ]
        );
    }

    #[test]
    fn other_servers_are_refused_in_words() {
        let said = server(140_011).check::<Postgres>().expect_err("old").to_string();
        assert!(said.contains("15 or later"), "{said}");
        server(180_000).check::<Postgres>().expect("new");
    }

    #[test]
    fn a_standby_has_no_file_of_its_own() {
        let host = FakeHost::new();
        host.answer("position", [row!["0/7", "t", 1, "1", 15]]);
        assert_eq!(host.freeze::<Postgres>().expect("freeze").coordinates().count(), 4);
        assert_eq!(host.sent(), ["position()"]);
    }

    #[test]
    fn commits_that_stay_in_memory_are_no_standstill() {
        let host = FakeHost::new();
        host.answer("position", [row!["0/7", "f", 1, "1", 15]]).answer("flushed", [row!["f", 600]]);
        host.remaining(std::time::Duration::from_millis(100));
        let said = host.freeze::<Postgres>().expect_err("in memory").to_string();
        assert!(said.contains("wal_writer_delay"), "{said}");
    }

    #[test]
    fn a_checkpoint_that_does_not_end_is_explained() {
        let host = FakeHost::new();
        host.fail("backup_start", "57014", "canceling statement due to statement timeout");
        let said = host.prepare::<Postgres>().expect_err("canceled").to_string();
        assert!(said.contains("checkpoint"), "{said}");
    }
}
