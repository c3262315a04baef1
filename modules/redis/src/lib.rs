//! Redis 7.0 and later, and Valkey: writers wait (`CLIENT PAUSE … WRITE`) until we, or the server itself, let them go on.
//!
//! With an append-only file all that was acknowledged is in that file once the server's buffer is empty. Without one it is
//! in memory alone, so a dump is made while writers wait: one that was made before would lack what came in between.

use std::time::Duration;

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The module.
pub struct Redis;

/// What must be left for the host: to take back, or to sync and to prove.
const LEFT: Duration = Duration::from_millis(300);

/// Between two looks while nobody waits.
const SLOW: Duration = Duration::from_millis(50);

/// Between two looks while writers wait.
const QUICK: Duration = Duration::from_millis(2);

impl Workload for Redis {
    fn check(cx: &Check) -> Result<()> {
        let state = sql::state(cx)?.one()?;
        cx.version(match &state.valkey_version {
            Some(version) => format!("Valkey {version}"),
            None => format!("Redis {}", state.redis_version),
        });
        let major = state.redis_version.split('.').next().and_then(|n| n.parse::<u32>().ok());
        cx.require(
            major.is_some_and(|n| n >= 7),
            format_args!("this needs Redis 7.0 or later, or Valkey; this is {}", state.redis_version),
        )?;
        let mode = state.redis_mode.as_deref().or(state.server_mode.as_deref()).unwrap_or("standalone");
        cx.require(mode != "sentinel", "this is a Sentinel: it holds no data, so name the servers that it watches")?;
        cx.require(state.loading == 0, "the server is still loading its data: try again when it has started")?;
        if mode == "cluster" {
            cx.warn(
                "this server is one of a cluster: it is frozen alone, so the snapshots of its servers are not of one \
                 instant, and slots that move meanwhile may be in two of them or in none",
            );
        }
        if state.role == "slave" {
            cx.note("this is a replica: what it has not received yet from its primary is not in the snapshot");
            if state.master_link_status.as_deref() != Some("up") {
                cx.warn("this replica has no connection to its primary: the snapshot is as old as that");
            }
        }
        if state.aof_enabled == 1 {
            append_only(cx, &state);
        } else {
            dumps_alone(cx, &state);
        }
        rights(cx)
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        loop {
            let now = sql::writing(cx)?.one()?;
            if !is_busy(&now) && now.aof_rewrite_scheduled == 0 {
                let last = now.rdb_last_bgsave_time_sec;
                return if now.aof_enabled == 0 && is_too_long(last, cx.stall_budget()) {
                    Err(Error::new(too_long(last)))
                } else {
                    Ok(())
                };
            }
            if clock::remaining() < LEFT {
                return Err(Error::new(
                    "a BGSAVE or a rewrite of the append-only file did not end in time: run the backup when none is under \
                     way",
                ));
            }
            clock::sleep(SLOW);
        }
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        // The host counts `timeout` from here on, and ends the cycle first.
        let longest = i64::try_from(cx.timeout().as_millis()).unwrap_or(i64::MAX).clamp(1000, 3_600_000);
        let before = sql::writing(cx)?.one()?;
        if before.aof_enabled == 1 {
            if cx.snapshot() == Snapshot::Files {
                sql::pause_files(cx, longest)?;
            } else {
                sql::pause_appending(cx, longest)?;
            }
            all_is_appended(cx)?;
        } else {
            sql::pause_saving(cx, longest)?;
            all_is_saved(cx)?;
        }
        let position = sql::position(cx)?.one()?;
        let mut point = RecoveryPoint::new()
            .and("role", if position.role == "slave" { "replica" } else { "primary" })
            .and("replication id", &position.master_replid)
            .and("replication offset", position.master_repl_offset)
            .and("run id", &position.run_id)
            .and("last save", position.rdb_last_save_time);
        if before.aof_enabled == 1
            && let Some(size) = position.aof_current_size
        {
            point = point.and("appended bytes", size);
        }
        Ok(point)
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        sql::unpause(cx)
    }
}

fn append_only(cx: &Check, state: &sql::State) {
    if state.aof_last_write_status != "ok" {
        cx.problem("the last write to the append-only file failed: the server's log says why, mostly a full disk");
    }
    if state.aof_last_bgrewrite_status != "ok" {
        cx.warn("the last rewrite of the append-only file failed: it grows until one succeeds");
    }
}

fn dumps_alone(cx: &Check, state: &sql::State) {
    if state.rdb_saves == 0 && state.rdb_last_load_keys_loaded == 0 {
        cx.problem(
            "this server has no append-only file, and since it started it has neither saved nor loaded a dump: if it is a \
             cache, do not back it up, for a dump would be loaded by its next start; otherwise turn appendonly on, or run \
             BGSAVE once",
        );
        return;
    }
    if state.rdb_last_bgsave_status != "ok" {
        cx.problem("the last BGSAVE failed: the server's log says why, mostly a full disk or no memory for the fork");
    }
    if is_too_long(state.rdb_last_bgsave_time_sec, cx.stall_budget()) {
        cx.problem(too_long(state.rdb_last_bgsave_time_sec));
    }
    cx.note(
        "there is no append-only file: the freeze makes a dump of everything while writers wait, at most stall_budget long. \
         With appendonly they wait for milliseconds",
    );
    if state.used_memory > state.total_system_memory / 2 {
        cx.warn("the server uses more than half of the machine's memory: what is written during a dump is there twice");
    }
}

/// Asked of the server without doing anything. A login that may not ask is not told.
fn rights(cx: &Check) -> Result<()> {
    let user = match sql::login(cx).and_then(|rows| rows.one()) {
        Ok(login) => login.user,
        Err(e) => return unseen(cx, e),
    };
    let asked: Result<[String; 4]> = (|| {
        Ok([
            sql::may_pause(cx, &user)?.one()?.answer,
            sql::may_unpause(cx, &user)?.one()?.answer,
            sql::may_save(cx, &user)?.one()?.answer,
            sql::may_flush_all(cx, &user)?.one()?.answer,
        ])
    })();
    let [pause, unpause, save, flush_all] = match asked {
        Ok(answers) => answers,
        Err(e) => return unseen(cx, e),
    };
    for (answer, command) in [(pause, "CLIENT PAUSE"), (unpause, "CLIENT UNPAUSE"), (save, "BGSAVE")] {
        if answer != "OK" {
            cx.problem(format_args!("the login {user} may not run {command}: see stillpoint privileges"));
        }
    }
    if flush_all == "OK" {
        cx.note(format_args!(
            "the login {user} may do far more than is needed, FLUSHALL for one: see stillpoint privileges"
        ));
    }
    Ok(())
}

fn unseen(cx: &Check, error: Error) -> Result<()> {
    if error.code().is_none() {
        return Err(error);
    }
    cx.warn("the login may not ask the server what it may do (ACL WHOAMI, ACL DRYRUN): a freeze may fail for that");
    Ok(())
}

fn is_busy(now: &sql::Writing) -> bool {
    now.rdb_bgsave_in_progress == 1 || now.aof_rewrite_in_progress == 1
}

/// The server counts whole seconds, and may have counted one that had just begun.
fn is_too_long(seconds: i64, stall_budget: Duration) -> bool {
    u64::try_from(seconds).is_ok_and(|s| s > stall_budget.as_secs() + 1)
}

fn too_long(seconds: i64) -> String {
    format!(
        "the last dump took {seconds} s, and writers would have to wait for one: turn appendonly on, with which they need \
         not, or raise stall_budget"
    )
}

/// Waits until the server has handed all that it acknowledged to the system: with a slow disk it keeps writes for up to
/// two seconds. The host syncs them.
fn all_is_appended(cx: &Freeze) -> Result<()> {
    loop {
        let now = sql::writing(cx)?.one()?;
        if now.aof_last_write_status != "ok" {
            return Err(Error::new("the server could not write its append-only file: its log says why"));
        }
        let kept = now.aof_buffer_length != Some(0) || now.aof_pending_bio_fsync != Some(0);
        if !kept && now.aof_rewrite_in_progress == 0 {
            return Ok(());
        }
        if clock::remaining() < LEFT {
            return Err(Error::new(
                "what was acknowledged is still in the server's memory alone: its disk is slow, or a rewrite of the \
                 append-only file has just begun. Run the backup at another time, or raise stall_budget",
            ));
        }
        clock::sleep(QUICK);
    }
}

/// Makes a dump and waits for it. One that somebody else began before is no use: it lacks what was written since.
fn all_is_saved(cx: &Freeze) -> Result<()> {
    let mut begun = false;
    loop {
        let now = sql::writing(cx)?.one()?;
        if !is_busy(&now) && !begun {
            sql::save(cx).map_err(|e| e.context("the server could not begin a dump"))?;
            begun = true;
        } else if now.rdb_bgsave_in_progress == 0 && begun {
            return if now.rdb_last_bgsave_status != "ok" {
                Err(Error::new("the dump failed: the server's log says why, mostly a full disk or no memory"))
            } else if now.rdb_changes_since_last_save != 0 {
                Err(Error::new("somebody wrote while the dump was made: somebody has ended the pause (CLIENT UNPAUSE)"))
            } else {
                Ok(())
            };
        }
        if clock::remaining() < LEFT {
            return Err(Error::new(
                "a dump of everything takes longer than stall_budget allows: turn appendonly on, with which writers need not \
                 wait for one, or raise stall_budget",
            ));
        }
        clock::sleep(QUICK);
    }
}

stillpoint_sdk::export!(Redis);

#[cfg(test)]
mod tests {
    use super::Redis;
    use std::time::Duration;
    use stillpoint_sdk::{Level, Snapshot, fake::FakeHost, row};

    fn writing(aof: i64, saving: i64, changes: i64, kept: i64) -> Vec<stillpoint_sdk::Value> {
        row![aof, saving, "ok", 0, changes, 0, 0, "ok", kept, 0]
    }

    fn frozen(host: &FakeHost) -> Vec<String> {
        host.answer("position", [row!["52da", "master", "777e", 77, 1_795_540_030, 216]]);
        let point = host.freeze::<Redis>().expect("freeze");
        assert!(point.coordinates().any(|c| c == ("replication offset", "77")));
        host.sent().iter().filter_map(|s| Some(s.split_once('(')?.0.to_owned())).collect()
    }

    #[test]
    fn with_an_append_only_file_the_buffer_is_waited_for() {
        let host = FakeHost::new();
        for kept in [0, 5, 0] {
            host.answer("writing", [writing(1, 0, 9, kept)]);
        }
        assert_eq!(frozen(&host), ["writing", "pause_appending", "writing", "writing", "position"]);
    }

    #[test]
    fn a_copy_file_by_file_asks_for_more() {
        let mut host = FakeHost::new();
        host.plan().snapshot = Snapshot::Files;
        host.answer("writing", [writing(1, 0, 9, 0)]);
        assert_eq!(frozen(&host), ["writing", "pause_files", "writing", "position"]);
    }

    #[test]
    fn without_one_a_dump_is_made_while_writers_wait() {
        let host = FakeHost::new();
        // Somebody else's, which began before; then ours.
        for (saving, changes) in [(1, 9), (1, 9), (0, 4), (1, 4), (0, 0)] {
            host.answer("writing", [writing(0, saving, changes, 0)]);
        }
        let want = ["writing", "pause_saving", "writing", "writing", "save", "writing", "writing", "position"];
        assert_eq!(frozen(&host), want);
    }

    #[test]
    fn what_stays_in_memory_is_no_standstill() {
        let host = FakeHost::new();
        host.remaining(Duration::from_millis(400));
        host.answer("writing", [writing(1, 0, 9, 5)]);
        let said = host.freeze::<Redis>().expect_err("in memory").to_string();
        assert!(said.contains("memory alone"), "{said}");
    }

    #[test]
    fn a_pause_that_somebody_ended_meanwhile_is_seen() {
        let host = FakeHost::new();
        for (saving, changes) in [(0, 4), (0, 4), (0, 2)] {
            host.answer("writing", [writing(0, saving, changes, 0)]);
        }
        let said = host.freeze::<Redis>().expect_err("somebody wrote").to_string();
        assert!(said.contains("UNPAUSE"), "{said}");
    }

    #[test]
    fn a_dump_that_would_take_too_long_is_not_begun() {
        let host = FakeHost::new();
        host.answer("writing", [row![0, 0, "ok", 60, 4, 0, 0, "ok", 0, 0]]);
        let said = host.prepare::<Redis>().expect_err("too long").to_string();
        assert!(said.contains("60 s") && said.contains("appendonly"), "{said}");
        assert_eq!(host.sent(), ["writing()"]);
    }

    #[test]
    fn valkey_and_old_servers_are_told_apart() {
        use stillpoint_sdk::Value::Null;
        let state = |redis: &str, valkey: stillpoint_sdk::Value| {
            let mut row = row![redis, "", "standalone", "", 1, 100, "master", "", 0, 1, 1, "ok", 0, 1, "ok", "ok"];
            (row[1], row[3], row[7]) = (valkey, Null, Null);
            let host = FakeHost::new();
            host.answer("state", [row]).answer("login", [row!["backup"]]);
            for name in ["may_pause", "may_unpause", "may_save"] {
                host.answer(name, [row!["OK"]]);
            }
            host.answer("may_flush_all", [row!["no permissions"]]);
            host
        };
        let report = state("7.2.4", stillpoint_sdk::Value::Text("9.0.1".into())).check::<Redis>().expect("Valkey");
        assert_eq!((report.version.as_str(), report.findings.len()), ("Valkey 9.0.1", 0));
        assert!(report.findings.iter().all(|f| f.level != Level::Problem));
        let said = state("6.2.14", Null).check::<Redis>().expect_err("old").to_string();
        assert!(said.contains("7.0 or later"), "{said}");
    }
}
