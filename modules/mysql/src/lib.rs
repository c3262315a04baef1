//! MySQL 8.0 and later, in one of two ways: where InnoDB's own recovery makes a copy whole, writers do not stop
//! (`LOCK INSTANCE FOR BACKUP`); where it does not, they do (`FLUSH TABLES WITH READ LOCK`).

use std::cell::Cell;
use std::time::Duration;

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The login may not read this table.
const TABLE_DENIED: &str = "1142";

/// The login lacks a privilege for this statement.
const ACCESS_DENIED: &str = "1227";

/// A statement that is older than this has perhaps only begun.
const YOUNG: i64 = 50;

/// What must be left for the host: to prove what holds, and to say so.
const LEFT: Duration = Duration::from_millis(300);

/// Between two looks at the same.
const NAP: Duration = Duration::from_millis(20);

/// The module.
pub struct MySql;

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nobody waits: the copy is as after a crash, and recovers to the instant of the snapshot.
    Recoverable,
    /// Writers wait.
    Still,
    /// Writers wait, and InnoDB has written all of its pages.
    AtRest,
}

thread_local! {
    /// As prepare chose it: what it then holds, nobody changes.
    static WAY: Cell<Option<Way>> = const { Cell::new(None) };
}

impl Workload for MySql {
    fn check(cx: &Check) -> Result<()> {
        let version = sql::version(cx)?.one()?.version;
        cx.version(version.clone());
        cx.require(
            !version.contains("MariaDB"),
            format_args!("this server is no MySQL but {version}: take  workload_name = mariadb"),
        )?;
        cx.require(
            number(&version).is_some_and(|v| v >= (8, 0)),
            format_args!("LOCK INSTANCE FOR BACKUP needs MySQL 8.0 or later; this is {version}"),
        )?;
        let settings = sql::settings(cx)?.one()?;
        if settings.performance_schema == 0 {
            cx.problem(
                "performance_schema is off: where the server is in its logs, and how long statements run, is told by it \
                 alone; set it to ON, and restart the server",
            );
            return Ok(());
        }
        let (way, why) = way(&sql::ways(cx)?.one()?, cx.snapshot());
        match way {
            Way::Recoverable => cx.note(format_args!("writers will not be stopped: {why}")),
            Way::Still | Way::AtRest => cx.note(format_args!("writers will be stopped: {why}")),
        }
        let long = seconds(cx.stall_budget()).clamp(1, 86_400);
        for s in sql::long_statements(cx, long)? {
            let state = s.state.unwrap_or_default();
            let what = format!("connection {} has been running one statement for {} s ({state})", s.id, s.seconds);
            if way == Way::Recoverable {
                cx.note(format_args!("{what}; only a change of the schema would be waited for"));
            } else {
                cx.warn(format_args!(
                    "{what}: FLUSH TABLES WITH READ LOCK would wait behind it, and everybody behind that. It is not sent \
                     before the statement has ended; the freeze gives up after stall_budget"
                ));
            }
        }
        match sql::idle_transactions(cx, long) {
            Ok(found) => {
                for t in found {
                    cx.note(format_args!(
                        "connection {} has a transaction open for {} s: it is not waited for, and not in the snapshot",
                        t.id, t.seconds
                    ));
                }
            }
            // Said by the host: the login may not see them.
            Err(e) if e.code() == Some(ACCESS_DENIED) => {}
            Err(e) => return Err(e),
        }
        locks_of_others(cx)?;
        if let Some(node) = sql::cluster(cx)?.first() {
            cx.warn(format_args!(
                "this is a node of a cluster ({} is set): while it stands still, the others may wait for it or drop it",
                node.name
            ));
        }
        if settings.without_redo > 0 {
            cx.problem(
                "InnoDB's redo log is switched off, so no copy of a running server can be recovered: \
                 ALTER INSTANCE ENABLE INNODB REDO_LOG",
            );
        }
        // DETECT_ONLY finds a torn page and cannot mend it.
        if matches!(settings.doublewrite.as_str(), "OFF" | "0" | "DETECT_ONLY") && way != Way::AtRest {
            cx.warn(format_args!(
                "innodb_doublewrite = {}: InnoDB may be writing a page at the instant of the snapshot, and can mend a half of \
                 one only with ON; right where the filesystem never writes half a page",
                settings.doublewrite
            ));
        }
        if settings.log_bin == 0 {
            cx.note("the binary log is off: the snapshot can be restored, but not rolled forward");
        }
        Ok(())
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        // The server gives up before we do; it knows whole seconds only.
        sql::lock_wait(cx, seconds(cx.stall_budget()).clamp(1, 600))?;
        // A session that the server ends for idleness would release everything in silence.
        let longer = seconds(cx.timeout()).saturating_add(120).clamp(60, 172_800);
        sql::stay_connected(cx, longer)?;
        sql::stay_connected_too(cx, longer)?;
        if sql::settings(cx)?.one()?.log_bin == 1 {
            sql::rotate_log(cx)?;
        }
        let mut chosen = way(&sql::ways(cx)?.one()?, cx.snapshot()).0;
        if chosen == Way::Recoverable {
            sql::lock_instance(cx).map_err(schema)?;
            // From here on no table is made or changed. One that was made since must not be held with this lock: a change
            // of a schema that waits for it would wait for us, and we for that.
            chosen = way(&sql::ways(cx)?.one()?, cx.snapshot()).0;
            if chosen != Way::Recoverable {
                sql::unlock_instance(cx)?;
            }
        }
        WAY.set(Some(chosen));
        Ok(())
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        let ways = sql::ways(cx)?.one()?;
        let (now, why) = way(&ways, cx.snapshot());
        let chosen = WAY.get().unwrap_or(Way::Still);
        match chosen {
            Way::Recoverable if now != chosen => {
                return Err(Error::new(format!(
                    "the server's settings were changed in this very moment: {why}. Repeat it"
                )));
            }
            Way::Recoverable => {}
            Way::Still | Way::AtRest => stop_writes(cx, chosen, ways.in_memory == 1)?,
        }
        let mut point = point(RecoveryPoint::new(), &sql::position(cx)?.one()?);
        point = match chosen {
            Way::Recoverable => point.and("way", format_args!("LOCK INSTANCE FOR BACKUP: {why}")),
            Way::Still | Way::AtRest => point.and("way", format_args!("FLUSH TABLES WITH READ LOCK: {why}")),
        };
        Ok(point)
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        let chosen = WAY.get();
        if chosen == Some(Way::Recoverable) {
            // The instant of the snapshot lies between the point and this one: it can be rolled forward to here, exactly.
            let end = sql::position_at_the_thaw(cx);
            sql::unlock_instance(cx)?;
            end?;
            return Ok(());
        }
        let unlocked = sql::unlock_tables(cx);
        if chosen.is_none() {
            // Who has not prepared does not know.
            sql::unlock_instance(cx)?;
        }
        unlocked
    }
}

/// Which way, and why.
fn way(ways: &sql::Ways, snapshot: Snapshot) -> (Way, String) {
    let why = match snapshot {
        Snapshot::Atomic if ways.recoverable == 1 => {
            let why = "every table is InnoDB's, each commit is on disk when it is acknowledged, and the snapshot is of one instant";
            return (Way::Recoverable, why.into());
        }
        Snapshot::PerVolume => {
            return (
                Way::AtRest,
                "the snapshot is not of one instant, so InnoDB must have written all of its pages".into(),
            );
        }
        Snapshot::Files => "a copy of files is not of one instant".to_owned(),
        Snapshot::Atomic if ways.seen == 0 => {
            "the login may not see all tables, so some may keep their data outside of InnoDB".into()
        }
        Snapshot::Atomic if ways.others > 0 => {
            format!("{} tables are not InnoDB's, and only those recover by themselves", ways.others)
        }
        Snapshot::Atomic if ways.flushed == 0 => {
            "innodb_flush_log_at_trx_commit is not 1, so commits are acknowledged before they are on disk".into()
        }
        Snapshot::Atomic => "sync_binlog is not 1, so the binary log may lack commits that InnoDB has".into(),
    };
    (Way::Still, why)
}

/// What keeps the server still already, or keeps us from it.
fn locks_of_others(cx: &Check) -> Result<()> {
    let found = match sql::held_by_others(cx) {
        Ok(found) => found,
        // Said by the host: the login may not look there.
        Err(e) if e.code() == Some(TABLE_DENIED) => return Ok(()),
        Err(e) => return Err(e),
    };
    for other in found {
        let what = match (other.object.as_str(), other.lock.as_str()) {
            ("GLOBAL", "SHARED") => "FLUSH TABLES WITH READ LOCK: writers stand still already",
            ("GLOBAL", _) => {
                "LOCK TABLES, or a change that is not ended: FLUSH TABLES WITH READ LOCK has to wait for it"
            }
            _ => "LOCK INSTANCE FOR BACKUP: another backup",
        };
        cx.warn(format_args!(
            "connection {} of {} holds {what}. It is not ours and is left alone: wait for it, or end it by hand",
            other.id, other.who
        ));
    }
    Ok(())
}

/// Stops writes, and waits until what must be on disk is there. Never behind a long statement: while the lock waits for
/// one, everybody waits for the lock, and tables stay blocked even when it is given up.
fn stop_writes(cx: &Freeze, way: Way, in_memory: bool) -> Result<()> {
    let half = clock::remaining() / 2;
    loop {
        let last = clock::remaining() <= half;
        // Few statements live long: whoever has lived for a tenth of the budget is no hindrance, where there is always one.
        let old = if last { milliseconds(cx.stall_budget() / 10) } else { YOUNG };
        let busy = sql::busy(cx, old)?;
        let Some(statement) = busy.first() else { break };
        if last {
            return Err(Error::new(format!(
                "connection {} has been running one statement for {} ms, and FLUSH TABLES WITH READ LOCK would make everybody \
                 wait behind it, so it was not sent. Run the backup after it, or raise stall_budget",
                statement.id, statement.milliseconds
            )));
        }
        clock::sleep(NAP);
    }
    sql::lock_wait(cx, seconds(clock::remaining().saturating_sub(LEFT)).clamp(1, 600))?;
    if way == Way::AtRest {
        sql::stop_writes_and_pages(cx).map_err(waited)?;
        return pages_are_on_disk(cx);
    }
    sql::stop_writes(cx).map_err(waited)?;
    if in_memory { redo_is_on_disk(cx) } else { Ok(()) }
}

/// Waits until InnoDB has written out all of its pages, which it does by itself while it has nothing else to do.
fn pages_are_on_disk(cx: &Freeze) -> Result<()> {
    while sql::rest(cx)?.one()?.lsn < 0 {
        if clock::remaining() < LEFT {
            return Err(Error::new(
                "InnoDB still has pages to write, and a snapshot of one volume after the other would mix old and new ones: \
                 raise stall_budget or innodb_io_capacity, lower innodb_max_dirty_pages_pct before the backup, or take an \
                 atomic snapshot (this needs MySQL 8.0.30 or later)",
            ));
        }
        clock::sleep(NAP);
    }
    Ok(())
}

/// Waits until the server has written out every commit that it acknowledged: it does so once a second by itself.
fn redo_is_on_disk(cx: &Freeze) -> Result<()> {
    let last = sql::redo(cx)?.one()?.current;
    loop {
        let redo = sql::redo(cx)?.one()?;
        if redo.flushed > 0 && redo.flushed >= last {
            return Ok(());
        }
        if clock::remaining() < LEFT {
            return Err(Error::new(
                "commits that were acknowledged are still in the server's memory alone \
                 (innodb_flush_log_at_trx_commit = 0): raise stall_budget, or set it to 1 or 2 (0 needs MySQL 8.0.30 or later)",
            ));
        }
        clock::sleep(NAP);
    }
}

fn point(mut point: RecoveryPoint, at: &sql::Position) -> RecoveryPoint {
    if let Some(gtid) = at.gtid.as_deref().filter(|g| !g.is_empty()) {
        // One server below the other.
        point = point.and("gtid", gtid.replace('\n', ""));
    }
    if let Some(file) = at.file.as_deref().filter(|f| !f.is_empty()) {
        point = point.and("binary log file", file).and("binary log position", at.offset);
    }
    point = point.and("lsn", at.lsn).and("server", &at.server);
    match at.channels.as_deref() {
        Some(channels) if channels != "[]" => point.and("replication", channels),
        _ => point,
    }
}

fn schema(error: Error) -> Error {
    match error.code() {
        Some("1205") => error.context(
            "somebody changes a schema, and LOCK INSTANCE FOR BACKUP waits for that. Run the backup after it, or raise \
             stall_budget",
        ),
        _ => error,
    }
}

fn waited(error: Error) -> Error {
    match error.code() {
        Some("1205") => error.context(
            "somebody holds what FLUSH TABLES WITH READ LOCK needs: a statement that began just before, a change of a schema, \
             or LOCK TABLES. Run the backup after it, or raise stall_budget",
        ),
        _ => error,
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).clamp(1, 3_600_000)
}

/// `8.0.36-0ubuntu0` as (8, 0).
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

stillpoint_sdk::export!(MySql);

#[cfg(test)]
mod tests {
    use super::MySql;
    use std::time::Duration;
    use stillpoint_sdk::{Level, Snapshot, fake::FakeHost, row};

    const GTID: &str = "3ed1be11-e82b-11f1-9f3f-02fc00000001:1-7";

    fn server(version: &str, others: i64) -> FakeHost {
        let host = FakeHost::new();
        host.answer("version", [row![version]])
            .answer("settings", [row![1, 1, "ON", 0]])
            .answer("ways", [row![i64::from(others == 0), 1, 1, 1, others, 0]])
            .answer("position", [row!["3ed1be11", GTID, "binlog.000012", 5114, 900, "[]"]]);
        host
    }

    #[test]
    fn where_all_is_innodbs_nobody_waits() {
        let host = server("9.7.4", 0);
        host.prepare::<MySql>().expect("prepare");
        let point = host.freeze::<MySql>().expect("freeze");
        host.thaw::<MySql>().expect("thaw");
        assert_eq!(
            host.sent(),
            [
                "lock_wait(5)",
                "stay_connected(210)",
                "stay_connected_too(210)",
                "settings()",
                "rotate_log()",
                "ways()",
                "lock_instance()",
                "ways()",
                "ways()",
                "position()",
                "position_at_the_thaw()",
                "unlock_instance()",
            ]
        );
        let point: Vec<_> = point.coordinates().collect();
        let begin = [("gtid", GTID), ("binary log file", "binlog.000012"), ("binary log position", "5114")];
        assert_eq!(point[..3], begin);
        assert!(point[5].0 == "way" && point[5].1.starts_with("LOCK INSTANCE FOR BACKUP: every table"), "{point:?}");
    }

    #[test]
    fn where_something_is_not_writers_wait() {
        let host = server("9.7.4", 3);
        host.prepare::<MySql>().expect("prepare");
        let point = host.freeze::<MySql>().expect("freeze");
        host.thaw::<MySql>().expect("thaw");
        let sent = host.sent().split_off(6);
        assert_eq!(
            sent,
            ["ways()", "busy(50)", "lock_wait(89)", "stop_writes()", "position()", "unlock_tables()"],
            "the lock of the other way is not held: changes of schemas that wait for it would be waited for"
        );
        let said = point.coordinates().last().expect("the way").1.to_owned();
        assert!(said.starts_with("FLUSH TABLES WITH READ LOCK: 3 tables"), "{said}");
    }

    #[test]
    fn a_table_that_comes_in_between_changes_the_way() {
        let host = server("9.7.4", 0);
        host.answer("ways", [row![0, 1, 1, 1, 1, 0]]);
        host.prepare::<MySql>().expect("prepare");
        assert_eq!(host.sent().last().map(String::as_str), Some("unlock_instance()"));
        host.freeze::<MySql>().expect("freeze");
        assert!(host.sent().contains(&"stop_writes()".into()));
    }

    #[test]
    fn the_kind_of_snapshot_changes_the_way() {
        let mut host = server("9.7.4", 0);
        host.plan().snapshot = Snapshot::PerVolume;
        host.answer("rest", [row![-1]]).answer("rest", [row![-2]]).answer("rest", [row![900]]);
        host.prepare::<MySql>().expect("prepare");
        host.freeze::<MySql>().expect("freeze");
        let sent = host.sent().split_off(9);
        assert_eq!(sent, ["stop_writes_and_pages()", "rest()", "rest()", "rest()", "position()"]);
    }

    #[test]
    fn nothing_is_sent_behind_a_long_statement() {
        let host = server("9.7.4", 1);
        host.answer("busy", [row![41, 300_000]]);
        host.prepare::<MySql>().expect("prepare");
        // The fake clock stands still: the first half of the budget never ends.
        host.remaining(Duration::ZERO);
        let said = host.freeze::<MySql>().expect_err("busy").to_string();
        assert!(said.contains("connection 41") && said.contains("not sent"), "{said}");
        assert!(!host.sent().contains(&"stop_writes()".into()));
        assert!(host.sent().contains(&"busy(500)".into()), "{:?}", host.sent());
    }

    #[test]
    fn other_servers_are_refused_in_words() {
        let said = server("10.11.19-MariaDB", 0).check::<MySql>().expect_err("MariaDB").to_string();
        assert!(said.contains("workload_name = mariadb"), "{said}");
        let said = server("5.7.44", 0).check::<MySql>().expect_err("old").to_string();
        assert!(said.contains("8.0"), "{said}");
        server("8.0.36-0ubuntu0", 0).check::<MySql>().expect("8.0");
    }

    #[test]
    fn a_server_that_could_not_recover_is_refused() {
        for settings in [row![0, 1, "ON", 0], row![1, 1, "ON", 1]] {
            let host = FakeHost::new();
            host.answer("version", [row!["9.7.4"]])
                .answer("settings", [settings])
                .answer("ways", [row![1, 1, 1, 1, 0, 0]]);
            let report = host.check::<MySql>().expect("check");
            assert!(report.findings.iter().any(|f| f.level == Level::Problem), "{report:?}");
        }
    }

    #[test]
    fn commits_that_are_only_in_memory_are_waited_for() {
        let host = FakeHost::new();
        host.answer("settings", [row![1, 0, "ON", 0]])
            .answer("ways", [row![0, 0, 1, 1, 0, 1]])
            .answer("redo", [row![700, 500]])
            .answer("redo", [row![720, 500]])
            .answer("redo", [row![720, 700]])
            .answer("position", [row!["3ed1be11", "", "", 0, 700, "[]"]]);
        host.prepare::<MySql>().expect("prepare");
        let point = host.freeze::<MySql>().expect("freeze");
        assert!(host.sent().ends_with(&["redo()", "redo()", "redo()", "position()"].map(String::from)));
        assert_eq!(point.coordinates().next(), Some(("lsn", "700")), "no binary log, no GTID");
    }

    #[test]
    fn a_lock_that_does_not_come_is_explained() {
        let host = server("9.7.4", 1);
        host.fail("stop_writes", "1205", "Lock wait timeout exceeded");
        host.prepare::<MySql>().expect("prepare");
        let said = host.freeze::<MySql>().expect_err("locked").to_string();
        assert!(said.contains("stall_budget"), "{said}");
    }
}
