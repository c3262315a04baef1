//! MariaDB 10.4 and later, by `BACKUP STAGE`: the way that MariaDB's own backup tool goes.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The login lacks a privilege for this statement.
const ACCESS_DENIED: &str = "1227";

/// The login may not read this table.
const TABLE_DENIED: &str = "1142";

/// The module.
pub struct MariaDb;

impl Workload for MariaDb {
    fn check(cx: &Check) -> Result<()> {
        let version = sql::version(cx)?.one()?.version;
        cx.version(version.clone());
        cx.require(
            version.contains("MariaDB"),
            format_args!("this server is no MariaDB but {version}: take  workload_name = mysql"),
        )?;
        cx.require(
            number(&version).is_some_and(|v| v >= (10, 4)),
            format_args!("BACKUP STAGE needs MariaDB 10.4 or later; this is {version}"),
        )?;
        // Whatever has lasted that long may outlast the freeze as well.
        let long = i64::try_from(cx.stall_budget().as_secs()).unwrap_or(i64::MAX).clamp(1, 86_400);
        for s in sql::long_statements(cx, long)? {
            let state = s.state.unwrap_or_default();
            cx.warn(format_args!(
                "connection {} has been running one statement for {} s ({state}); if it changes a schema or a table \
                 outside of transactions, the freeze waits for it, up to stall_budget",
                s.id, s.seconds
            ));
        }
        match sql::idle_transactions(cx, long) {
            Ok(found) => {
                for t in found {
                    cx.note(format_args!("connection {} has a transaction open for {} s", t.id, t.seconds));
                }
            }
            // Said above: the login may not see them.
            Err(e) if e.code() == Some(ACCESS_DENIED) => {}
            Err(e) => return Err(e),
        }
        match sql::held_by_others(cx) {
            Ok(found) => {
                for other in found {
                    // A foreign FLUSH TABLES WITH READ LOCK does not keep us from our own stages; another backup does.
                    cx.warn(format_args!(
                        "connection {} of {} holds the server still already, and has been idle or busy with that for {} s \
                         (BACKUP STAGE or FLUSH TABLES WITH READ LOCK). It is not ours and is left alone: wait for it, or \
                         end it by hand",
                        other.id, other.who, other.seconds
                    ));
                }
            }
            // The login may not look there: then the freeze finds out, and gives up after stall_budget.
            Err(e) if e.code() == Some(TABLE_DENIED) => {}
            Err(e) => return Err(e),
        }
        let outside = sql::outside_transactions(cx)?.one()?.tables;
        if outside > 0 {
            cx.note(format_args!(
                "{outside} tables are not InnoDB: writers to them wait a little longer, and the filesystem is synced \
                 while they wait"
            ));
        }
        if sql::galera(cx)?.first().is_some_and(|g| g.on == "ON") {
            cx.warn(
                "this is a node of a Galera cluster: while it stands still, the cluster may wait for it or drop it",
            );
        }
        if sql::position(cx)?.one()?.in_memory == 1 {
            cx.warn(
                "innodb_flush_log_at_trx_commit = 0: while everything stands still, the freeze waits up to a second \
                 longer, until the server has written its commits out by itself; with 1 or 2 it need not",
            );
        }
        if sql::log_is_on(cx)?.one()?.on == 0 {
            cx.note("the binary log is off: the snapshot can be restored, but not rolled forward");
        }
        Ok(())
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        let seconds = |d: std::time::Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        // The server gives up before we do; it knows whole seconds only.
        sql::lock_wait(cx, seconds(cx.stall_budget()).clamp(1, 600))?;
        // A session that the server ends for idleness would release everything in silence.
        let longer = seconds(cx.timeout()).saturating_add(120).clamp(60, 172_800);
        sql::stay_connected(cx, longer)?;
        sql::stay_connected_too(cx, longer)?;
        if sql::log_is_on(cx)?.one()?.on == 1 {
            sql::rotate_log(cx)?;
        }
        sql::stage_start(cx).map_err(waited)
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        sql::stage_block_commit(cx).map_err(waited)?;
        let position = sql::position(cx)?.one()?;
        if position.in_memory == 1 {
            redo_is_on_disk(cx)?;
        }
        let mut point = RecoveryPoint::new();
        if !position.gtid_current.is_empty() {
            point = point.and("gtid", &position.gtid_current);
        }
        // They differ on a replica that does not log what it replicates.
        if !position.gtid_binlog.is_empty() && position.gtid_binlog != position.gtid_current {
            point = point.and("gtid of the binary log", &position.gtid_binlog);
        }
        match sql::log_position(cx) {
            Ok(rows) => {
                if let Some(at) = rows.first() {
                    point = point.and("binary log file", &at.file).and("binary log position", at.offset);
                }
            }
            // Check said so: the login may not see it. The freeze is whole without.
            Err(e) if e.code() == Some(ACCESS_DENIED) => {}
            Err(e) => return Err(e),
        }
        Ok(point)
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        sql::stage_end(cx)
    }
}

/// Waits until the server has written out every commit that it acknowledged: it does so once a second by itself.
fn redo_is_on_disk(cx: &Freeze) -> Result<()> {
    let last = sql::redo(cx)?.one()?.current;
    while sql::redo(cx)?.one()?.flushed < last {
        if clock::remaining() < std::time::Duration::from_millis(300) {
            return Err(Error::new(
                "commits that were acknowledged are still in the server's memory alone \
                 (innodb_flush_log_at_trx_commit = 0): raise stall_budget, or set it to 1 or 2",
            ));
        }
    }
    Ok(())
}

fn waited(error: Error) -> Error {
    match error.code() {
        Some("1205") => error.context(
            "somebody holds what the freeze needs: a change of a schema, a statement on a table outside of transactions, \
             LOCK TABLES, or another backup. Run the backup after it, or raise stall_budget",
        ),
        _ => error,
    }
}

/// `10.11.19-MariaDB-deb12` as (10, 11).
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

stillpoint_sdk::export!(MariaDb);

#[cfg(test)]
mod tests {
    use super::MariaDb;
    use stillpoint_sdk::{fake::FakeHost, row};

    fn server(version: &str) -> FakeHost {
        let host = FakeHost::new();
        host.answer("version", [row![version]])
            .answer("outside_transactions", [row![0]])
            .answer("log_is_on", [row![1]])
            .answer("position", [row!["0-1-48213", "0-1-48213", 0]])
            .answer("log_position", [row!["binlog.000012", 5114, "", ""]]);
        host
    }

    #[test]
    fn a_cycle_takes_the_stages_in_order_and_gives_the_point() {
        let host = server("10.11.19-MariaDB-deb12");
        host.prepare::<MariaDb>().expect("prepare");
        let point = host.freeze::<MariaDb>().expect("freeze");
        host.thaw::<MariaDb>().expect("thaw");
        assert_eq!(
            host.sent(),
            [
                "lock_wait(5)",
                "stay_connected(210)",
                "stay_connected_too(210)",
                "log_is_on()",
                "rotate_log()",
                "stage_start()",
                "stage_block_commit()",
                "position()",
                "log_position()",
                "stage_end()",
            ]
        );
        let point: Vec<_> = point.coordinates().collect();
        assert_eq!(
            point,
            [("gtid", "0-1-48213"), ("binary log file", "binlog.000012"), ("binary log position", "5114")]
        );
    }

    #[test]
    fn nothing_is_rotated_while_the_log_is_off() {
        let host = FakeHost::new();
        host.answer("log_is_on", [row![0]]).answer("position", [row!["", "", 0]]);
        host.prepare::<MariaDb>().expect("prepare");
        assert!(!host.sent().contains(&"rotate_log()".into()));
        assert_eq!(host.freeze::<MariaDb>().expect("freeze").coordinates().count(), 0);
    }

    #[test]
    fn other_servers_are_refused_in_words() {
        let said = server("9.7.0").check::<MariaDb>().expect_err("MySQL").to_string();
        assert!(said.contains("workload_name = mysql"), "{said}");
        let said = server("10.3.39-MariaDB").check::<MariaDb>().expect_err("old").to_string();
        assert!(said.contains("10.4"), "{said}");
        server("11.8.2-MariaDB").check::<MariaDb>().expect("new");
    }

    #[test]
    fn a_replica_that_does_not_log_has_two_places() {
        let host = FakeHost::new();
        host.answer("position", [row!["0-7-2", "0-6-23", 0]]);
        let point = host.freeze::<MariaDb>().expect("freeze");
        let point: Vec<_> = point.coordinates().collect();
        assert_eq!(point, [("gtid", "0-6-23"), ("gtid of the binary log", "0-7-2")]);
    }

    #[test]
    fn who_may_not_see_transactions_is_warned_and_not_stopped() {
        let host = server("10.11.19-MariaDB");
        host.fail("idle_transactions", "1227", "Access denied");
        let report = host.check::<MariaDb>().expect("check");
        // The host compares what the login may do with what it needs.
        assert_eq!(report.findings.len(), 0, "{report:?}");
    }

    #[test]
    fn a_freeze_without_the_log_position_is_a_freeze() {
        let host = FakeHost::new();
        host.answer("position", [row!["", "0-1-7", 0]]).fail("log_position", "1227", "Access denied");
        assert_eq!(host.freeze::<MariaDb>().expect("freeze").coordinates().count(), 1);
    }

    #[test]
    fn commits_that_are_only_in_memory_are_waited_for() {
        let host = FakeHost::new();
        host.answer("position", [row!["", "", 1]]);
        host.answer("redo", [row![700, 500, 0]])
            .answer("redo", [row![720, 500, 0]])
            .answer("redo", [row![720, 700, 0]]);
        host.freeze::<MariaDb>().expect("freeze");
        assert_eq!(host.sent(), ["stage_block_commit()", "position()", "redo()", "redo()", "redo()", "log_position()"]);
    }

    #[test]
    fn commits_that_stay_in_memory_are_no_standstill() {
        let host = FakeHost::new();
        host.answer("position", [row!["", "", 1]]).answer("redo", [row![700, 500, 0]]);
        host.remaining(std::time::Duration::from_millis(100));
        let said = host.freeze::<MariaDb>().expect_err("in memory").to_string();
        assert!(said.contains("stall_budget"), "{said}");
    }

    #[test]
    fn a_lock_that_does_not_come_is_explained() {
        let host = FakeHost::new();
        host.fail("stage_block_commit", "1205", "Lock wait timeout exceeded");
        let said = host.freeze::<MariaDb>().expect_err("locked").to_string();
        assert!(said.contains("stall_budget"), "{said}");
    }
}
