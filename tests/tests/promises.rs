//! What was frozen is thawed, whatever dies; and what was not is not claimed. And no secret is seen on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use stillpoint_tests::folder;
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::processes::{self, clients};
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::wait_until;
use stillpoint_tests::writers::Writers;
use tempfile::TempDir;

/// A SQLite database with writers, and Stillpoint configured for it.
struct Scene {
    // First: what still stands is thawed before the writers are forgotten.
    site: Site,
    writers: Writers,
    _folder: TempDir,
}

fn scene(timeout: u32) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let site =
        Site::with(&format!("[workload]\nworkload_name = sqlite\ndbnames = {}\ntimeout = {timeout}\n", file.display()));
    let writers = sqlite::writers(&file, 2);
    writers.get_on(10);
    Scene { site, writers, _folder: folder }
}

/// The same on a private MariaDB.
fn mariadb(test: &str, timeout: u32) -> Option<(MariaDb, Site, Writers)> {
    let server = MariaDb::private(test, &[])?;
    server.make_table();
    let site = Site::with(&server.configuration(&format!("timeout = {timeout}\n")));
    let writers = server.writers(2);
    writers.get_on(10);
    Some((server, site, writers))
}

fn hang(clients: &[Pid]) {
    clients.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
}

#[test]
fn a_hold_that_nobody_ends_is_ended_by_the_timeout() {
    let Scene { site, writers, _folder } = scene(5);
    let began = Instant::now();
    site.freeze();
    let frozen = Instant::now();
    let status = site.json(&["status"]);
    assert_eq!(status.json["under_way"]["frozen"], serde_json::json!(["sqlite"]), "{}", status.text);
    // The first may have been done before, and noted after.
    writers.get_on(2);
    let thawed = Instant::now();
    assert!(thawed - began >= Duration::from_millis(4900), "it was thawed early, after {:?}", thawed - began);
    // How precisely is for a benchmark; this is much less than the next bound that could have ended it.
    assert!(thawed - frozen <= Duration::from_secs(20), "it was thawed late, after {:?}", thawed - frozen);
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    assert!(said.reason().contains("the timeout"), "{}", said.text);
    // Told once: nothing is left to tell, and nothing that vouches for a snapshot.
    let said = site.json(&["thaw"]);
    said.assert_fault(5, "SP-CYCLE-003");
}

#[test]
fn one_cycle_follows_the_other_at_once() {
    let Scene { site, writers, _folder } = scene(60);
    for _ in 0..3 {
        site.freeze();
        let said = site.json(&["thaw"]);
        assert_eq!(said.code, Some(0), "{}", said.text);
        let said = site.json(&["run", "--", "true"]);
        assert_eq!(said.code, Some(0), "{}", said.text);
    }
    writers.get_on(10);
}

#[test]
fn a_second_freeze_is_refused_and_the_first_holds() {
    let Scene { site, writers, _folder } = scene(60);
    site.freeze();
    for arguments in [&["freeze"][..], &["run", "--", "true"], &["recover"]] {
        let said = site.json(arguments);
        said.assert_fault(7, "SP-CYCLE-007");
    }
    let said = site.json(&["thaw"]);
    said.assert_still();
    writers.get_on(10);
}

#[test]
fn what_is_not_frozen_can_be_thawed() {
    let Scene { site, writers, _folder } = scene(60);
    for command in ["recover", "status"] {
        let ended = site.call(&[command]);
        assert_eq!(ended.code, Some(0), "{command}: {ended:?}");
        assert!(ended.stdout.contains("nothing"), "{command}: {ended:?}");
    }
    // Whoever thaws believes to have a snapshot: that is not true.
    let said = site.json(&["thaw"]);
    said.assert_fault(5, "SP-CYCLE-003");
    writers.get_on(10);
}

#[test]
fn a_command_that_fails_is_told_from_a_freeze_that_fails() {
    let Scene { site, writers, _folder } = scene(60);
    let said = site.json(&["run", "--", "sh", "-c", "exit 3"]);
    assert_eq!((said.code, &said.json["verdict"]), (Some(8), &"application-consistent".into()), "{}", said.text);
    assert!(said.json["command"].as_str().is_some_and(|c| c.contains('3')), "{}", said.text);
    let said = site.json(&["run", "--", "/nowhere/at-all"]);
    assert_eq!(said.code, Some(8), "{}", said.text);
    writers.get_on(10);
    site.assert_nothing_is_frozen();
}

#[test]
fn a_signal_to_run_thaws_before_it_reaches_the_command() {
    let Scene { site, writers, _folder } = scene(60);
    let (begun, told) = (site.path("begun"), site.path("told"));
    // The command takes its time to end: the database does not wait for it.
    let script = format!(
        "trap 'touch {told}; sleep 1; exit 0' TERM; touch {begun}; while :; do sleep 0.05; done",
        told = told.display(),
        begun = begun.display()
    );
    let running = site.start(&["run", "--", "sh", "-c", &script]);
    wait_until("the command of run begins", || begun.exists());
    running.signal(Signal::SIGTERM);
    wait_until("the command is told", || told.exists());
    site.assert_nothing_is_frozen();
    writers.get_on(1);
    let said = Said::of(running.end());
    assert_eq!(said.code, Some(8), "{}", said.text);
    // What the command cut after the signal is not vouched for.
    assert_eq!(said.json["verdict"], "crash-consistent", "{}", said.text);
    assert!(said.reason().contains("signal"), "{}", said.text);
}

#[test]
fn run_that_is_killed_leaves_nothing_frozen() {
    let Scene { site, writers, _folder } = scene(60);
    let begun = site.path("begun");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 30", begun.display());
    let running = site.start(&["run", "--", "sh", "-c", &script]);
    wait_until("the command of run begins", || begun.exists());
    running.signal(Signal::SIGKILL);
    let at = Instant::now();
    writers.get_on(1);
    assert!(at.elapsed() < Duration::from_secs(2), "the thaw took {:?}", at.elapsed());
    wait_until("the keeper ends", || !site.path("run/control.sock").exists());
    // The agent is gone, so nobody said that the snapshot was cut: its record says that.
    let [record] = &site.records()[..] else { panic!("one record: {:?}", site.records()) };
    assert_eq!(record["exit"], "inconsistent", "{record}");
    // The command outlives its caller; it is ours to end.
    let command = std::fs::read_to_string(begun).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(command), Signal::SIGKILL).unwrap();
}

#[test]
fn a_freeze_outlives_the_agents_process_group() {
    let Scene { site, writers, _folder } = scene(60);
    let mut agent = Command::new("sh");
    agent.args(["-c", "\"$@\" && echo frozen && exec sleep 30", "agent"]);
    let freeze = site.command(&["freeze"]);
    agent.arg(freeze.get_program()).args(freeze.get_args());
    let mut agent = agent.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut stdout = agent.stdout.take().unwrap();
    while !said.ends_with("\nfrozen\n") {
        let mut byte = [0];
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "the agent ended: {said}");
        said.push(char::from(byte[0]));
    }
    let frozen = Instant::now();
    let group = Pid::from_raw(i32::try_from(agent.id()).unwrap());
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let _ = killpg(group, signal);
    }
    agent.wait().unwrap();
    let status = site.json(&["status"]);
    assert_eq!(status.json["under_way"]["frozen"], serde_json::json!(["sqlite"]), "{}", status.text);
    let moved = writers.log().commits.into_iter().find(|c| c.begun > frozen && c.acknowledged.is_some());
    assert_eq!(moved, None, "a writer got on while the hold was said to last");
    let thawed = site.json(&["thaw"]);
    thawed.assert_still();
    writers.get_on(10);
}

/// The session is the lock: with its keeper it ends. The guard sees to it, and leaves the verdict for who asks.
fn the_keeper_is_killed(site: &Site, writers: &Writers) {
    site.freeze();
    site.kill_keeper();
    let at = Instant::now();
    writers.get_on(1);
    assert!(at.elapsed() < Duration::from_secs(1), "it took {:?}", at.elapsed());
    site.wait_for_the_guard();
    let thaw = site.json(&["thaw"]);
    thaw.assert_fault(5, "SP-GUARD-001");
    site.assert_nothing_is_frozen();
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    writers.get_on(10);
}

#[test]
fn the_keeper_of_sqlite_is_killed() {
    let Scene { site, writers, _folder } = scene(60);
    the_keeper_is_killed(&site, &writers);
}

#[test]
fn the_keeper_of_mariadb_is_killed() {
    let Some((_server, site, writers)) = mariadb("the_keeper_of_mariadb_is_killed", 60) else { return };
    the_keeper_is_killed(&site, &writers);
}

/// Every client hangs while it holds, so no undo is answered: the sessions are ended through a new one.
fn clients_that_hang_do_not_keep_anything_frozen(site: &Site, writers: &Writers) {
    site.freeze();
    let clients = clients(site);
    hang(&clients);
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    writers.get_on(5);
    site.assert_nothing_is_frozen();
    wait_until("the clients are gone", || clients.iter().all(|pid| kill(*pid, None).is_err()));
}

#[test]
fn clients_of_sqlite_that_hang() {
    let Scene { site, writers, _folder } = scene(60);
    clients_that_hang_do_not_keep_anything_frozen(&site, &writers);
}

#[test]
fn clients_of_mariadb_that_hang() {
    let Some((server, site, writers)) = mariadb("clients_of_mariadb_that_hang", 60) else { return };
    clients_that_hang_do_not_keep_anything_frozen(&site, &writers);
    drop(server);
}

/// The keeper is killed while its statement waits for a lock: the server knows nothing of that, so `recover` tells it.
#[test]
fn a_lock_that_is_waited_for_does_not_outlive_recovery() {
    let test = "a_lock_that_is_waited_for_does_not_outlive_recovery";
    let Some((server, site, writers)) = mariadb(test, 120) else { return };
    site.add_to_configuration("stall_budget = 100\n");
    server.sql("CREATE TABLE app.slow (a INT) ENGINE = MyISAM;");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| server.try_sql("INSERT INTO app.slow SELECT SLEEP(3600);"));
        let running = "SELECT id FROM information_schema.processlist WHERE info LIKE 'INSERT INTO app.slow%';";
        let waiting = "SELECT id FROM information_schema.processlist WHERE info LIKE 'BACKUP STAGE%';";
        wait_until("the slow statement runs", || !server.sql(running).is_empty());
        let freezing = site.start(&["freeze"]);
        wait_until("the freeze waits", || !server.sql(waiting).is_empty());
        site.kill_keeper();
        // The command that waited for it recovers by itself.
        let said = Said::of(freezing.end());
        let left = server.sql(waiting);
        server.sql(&format!("KILL {};", server.sql(running).trim()));
        slow.join().unwrap();
        said.assert_fault(5, "SP-CYCLE-011");
        assert_eq!(left, "", "{}", said.text);
    });
    writers.get_on(5);
    site.assert_nothing_is_frozen();
}

/// The program of `command_path` may be a script that starts the real client: both are ended.
#[test]
fn a_client_behind_a_script_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let script = folder.path().join("sqlite3");
    std::fs::write(&script, "#!/bin/sh\n/usr/bin/sqlite3 \"$@\"\nexit $?\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let site = Site::with(&format!(
        "[workload]\nworkload_name = sqlite\ndbnames = {}\ncommand_path = {}\n",
        file.display(),
        folder.path().display()
    ));
    let writers = sqlite::writers(&file, 1);
    site.freeze();
    clients(&site).iter().for_each(|pid| killpg(*pid, Signal::SIGSTOP).unwrap());
    let said = site.json(&["thaw"]);
    assert_eq!(said.code, Some(5), "{}", said.text);
    writers.get_on(5);
}

/// The timeout is the host's: it needs neither the module nor the client.
#[test]
fn the_timeout_holds_while_the_clients_hang() {
    let Some((server, site, writers)) = mariadb("the_timeout_holds_while_the_clients_hang", 5) else { return };
    site.freeze();
    hang(&clients(&site));
    writers.get_on(5);
    let said = site.json(&["thaw"]);
    assert_eq!((said.code, &said.json["released_by"]), (Some(5), &"the timeout".into()), "{}", said.text);
    drop(server);
}

/// What would stop every writer until it ends is not waited for longer than the stall budget allows, and nothing is left
/// pending on the server: a client that gave up would not take its lock request with it.
#[test]
fn a_statement_that_does_not_end_costs_the_stall_budget_and_no_more() {
    let test = "a_statement_that_does_not_end_costs_the_stall_budget_and_no_more";
    let Some((server, site, writers)) = mariadb(test, 60) else { return };
    site.add_to_configuration("stall_budget = 1\n");
    server.sql("CREATE TABLE app.slow (a INT) ENGINE = MyISAM;");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| server.try_sql("INSERT INTO app.slow SELECT SLEEP(3600);"));
        let running = "SELECT id FROM information_schema.processlist WHERE info LIKE 'INSERT INTO app.slow%';";
        wait_until("the slow statement runs", || !server.sql(running).is_empty());
        let said = site.json(&["run", "--", "true"]);
        writers.get_on(5);
        let pending = server.sql("SELECT id, state FROM information_schema.processlist WHERE state LIKE '%backup%';");
        // Nor is what was held before it: who begins a backup of his own, beside the slow statement, does not wait.
        let start = server.try_sql("SET lock_wait_timeout = 1; BACKUP STAGE START; BACKUP STAGE END;");
        server.sql(&format!("KILL {};", server.sql(running).trim()));
        slow.join().unwrap();
        said.assert_fault(4, "SP-DB-014");
        assert!(said.text.contains("stall_budget"), "{}", said.text);
        assert_eq!(pending, "", "{}", said.text);
        assert_eq!(start.code, Some(0), "START is still held: {start:?}");
    });
    site.assert_nothing_is_frozen();
}

#[test]
fn a_server_that_dies_while_it_stands_still_is_not_called_consistent() {
    let test = "a_server_that_dies_while_it_stands_still_is_not_called_consistent";
    let Some((mut server, site, _writers)) = mariadb(test, 60) else { return };
    site.freeze();
    server.kill();
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    assert!(!said.reason().is_empty(), "{}", said.text);
    site.assert_nothing_is_frozen();
}

/// Somebody's `KILL` of our session is nothing that the client notices by itself: the proof does.
/// The lock is on the file that was opened; whoever puts another in its place writes past it.
/// An agent whose thaw was cut off asks again: it is not told that all is well.
#[test]
fn a_verdict_that_nobody_read_is_told_to_who_asks_next() {
    let Scene { site, writers, _folder } = scene(60);
    site.freeze();
    clients(&site).iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let first = site.command(&["thaw"]).stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(first.code(), Some(5));
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    writers.get_on(5);
}

/// A ledger that nobody can read is not called empty.
#[test]
fn a_broken_ledger_is_no_empty_one() {
    let Scene { site, writers, _folder } = scene(60);
    site.freeze();
    assert_eq!(site.json(&["thaw"]).code, Some(0));
    std::fs::write(site.path("lib/ledger"), "garbage\n").unwrap();
    for command in ["status", "recover", "thaw", "freeze"] {
        let said = site.json(&[command]);
        assert_eq!((said.code, said.faults()), (Some(6), vec!["SP-CYCLE-005".to_owned()]), "{command}: {}", said.text);
    }
    writers.get_on(5);
}

/// Who cannot be told "frozen" will not thaw.
#[test]
fn a_freeze_that_cannot_say_so_is_thawed() {
    let Scene { site, writers, _folder } = scene(60);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = site.command(&["freeze"]).stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    site.assert_nothing_is_frozen();
    writers.get_on(5);
}

/// A verdict of an earlier night is not taken for this one's.
#[test]
fn after_a_lost_keeper_no_older_verdict_is_told() {
    let Scene { site, writers, _folder } = scene(60);
    site.freeze();
    kill(site.process("keeper"), Signal::SIGTERM).unwrap();
    site.wait_for_the_end();
    site.freeze();
    site.kill_keeper();
    site.wait_for_the_guard();
    let said = site.json(&["thaw"]);
    said.assert_fault(5, "SP-GUARD-001");
    site.assert_nothing_is_frozen();
    let list = site.call(&["record", "list"]).stdout;
    assert!(list.lines().next().is_some_and(|newest| newest.contains("its keeper was lost")), "{list}");
    writers.get_on(5);
}

/// With `on_failure = continue` the agent is told who is missing, and who failed is not kept waiting.
#[test]
fn a_workload_that_failed_does_not_wait_for_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["a.db", "b.db", "c.db"].map(|name| folder.path().join(name));
    files.iter().for_each(|file| sqlite::make(file, Journal::Wal));
    let [a, b, c] = files.each_ref().map(|file| file.display().to_string());
    let site = Site::with(&format!(
        "[workload good]\nworkload_name = sqlite\ndbnames = {a}\non_failure = continue\n\
         [workload bad]\nworkload_name = sqlite\ndbnames = {b}, {c}\non_failure = continue\nstall_budget = 1\n"
    ));
    let lock = sqlite::lock(&files[2]);
    let said = site.freeze();
    assert_eq!(said.json["frozen"]["frozen"], serde_json::json!(["good"]), "{}", said.text);
    assert_eq!(said.json["frozen"]["failed"][0]["workload"], "bad", "{}", said.text);
    drop(lock);
    let writers = sqlite::writers(&files[1], 1);
    writers.get_on(5);
    let said = site.json(&["thaw"]);
    assert_eq!(said.code, Some(5), "{}", said.text);
    assert_eq!(said.json["workloads"][0]["verdict"], "application-consistent", "{}", said.text);
    assert_eq!(said.json["workloads"][1]["verdict"], "failed", "{}", said.text);
}

#[test]
fn a_database_that_was_replaced_is_not_called_consistent() {
    let Scene { site, writers, _folder: folder } = scene(60);
    let file = folder.path().join("app.db");
    sqlite::make(&folder.path().join("new.db"), Journal::Rollback);
    site.freeze();
    std::fs::rename(folder.path().join("new.db"), file).unwrap();
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    assert!(said.reason().contains("replaced"), "{}", said.text);
    site.assert_nothing_is_frozen();
    drop(writers);
}

/// In WAL mode what was committed may lie in the file beside: a copy lacks it.
#[test]
fn a_database_that_lost_a_file_is_not_called_consistent() {
    for (end, why) in [("-wal", "app.db-wal was removed"), ("", "app.db is gone")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.db");
        sqlite::make(&file, Journal::Wal);
        let site = Site::with(&format!("[workload]\nworkload_name = sqlite\ndbnames = {}\n", file.display()));
        let writers = sqlite::writers(&file, 1);
        writers.get_on(5);
        site.freeze();
        std::fs::remove_file(folder.path().join(format!("app.db{end}"))).unwrap();
        let said = site.json(&["thaw"]);
        said.assert_crash_consistent();
        assert!(said.reason().contains(why), "{}", said.text);
        site.assert_nothing_is_frozen();
        drop(writers);
    }
}

#[test]
fn a_session_that_somebody_ended_is_not_called_consistent() {
    let test = "a_session_that_somebody_ended_is_not_called_consistent";
    let Some((server, site, writers)) = mariadb(test, 60) else { return };
    let sessions = || -> BTreeSet<String> {
        let all = "SELECT id FROM information_schema.processlist WHERE user = 'root' AND id <> CONNECTION_ID();";
        server.sql(all).lines().map(str::to_owned).collect()
    };
    let of_the_writers = sessions();
    site.freeze();
    let ours = &sessions() - &of_the_writers;
    assert!(!ours.is_empty(), "we have a session");
    let kills: String = ours.iter().map(|id| format!("KILL {id};")).collect();
    server.sql(&kills);
    writers.get_on(1);
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    site.assert_nothing_is_frozen();
}

#[test]
fn a_password_is_seen_nowhere() {
    const SECRET: &str = "hunter2-4711";
    let Some(server) = MariaDb::private("a_password_is_seen_nowhere", &[]) else { return };
    server.make_table();
    server
        .sql(&format!("CREATE USER backup@localhost IDENTIFIED BY '{SECRET}'; GRANT ALL ON *.* TO backup@localhost;"));
    let site = Site::new();
    let credential = site.credential(&format!("-u backup -p{SECRET} -S {}", server.socket().display()));
    let ipc = site.path("ipc");
    std::fs::create_dir(&ipc).unwrap();
    site.configure(&format!(
        "[workload]\nworkload_name = mariadb\ncredential_file = {}\nipc_folder = {}\ntimeout = 60\n",
        credential.display(),
        ipc.display()
    ));
    let listener = site.listen();
    let frozen = site.freeze();
    let ours = processes::with_words(&["mariadb\0--defaults-file="]);
    assert!(!ours.is_empty(), "the client runs with its credential");
    processes::show_nowhere(SECRET);
    let said = site.json(&["thaw"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    listener.until_the_verdict();
    assert!(!frozen.text.contains(SECRET) && !said.text.contains(SECRET));
    std::fs::remove_file(credential).unwrap();
    assert_eq!(folder::files_with(SECRET, &site.path("")), Vec::<PathBuf>::new());
}

#[test]
fn everybody_who_listens_hears_the_cycle_and_nobody_slows_it() {
    let Scene { site, writers, _folder } = scene(60);
    let listener = site.listen();
    site.freeze();
    // These never read, and one of them writes.
    let mut deaf: Vec<UnixStream> =
        (0..3).map(|_| UnixStream::connect(site.path("run/events.sock")).unwrap()).collect();
    let _ = deaf[0].write_all(&[b'x'; 4096]);
    let thawed = site.json(&["thaw"]);
    assert_eq!(thawed.code, Some(0), "{}", thawed.text);
    assert!(thawed.json["workloads"][0]["phases"]["thaw_us"].as_u64().is_some_and(|us| us < 1_000_000));
    let heard = listener.until_the_verdict();
    let mut kinds = Vec::new();
    for line in heard.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["specversion"], "1.0", "{line}");
        for key in ["id", "source", "time"] {
            assert!(event[key].is_string(), "{key} is not in {line}");
        }
        kinds.push(event["type"].as_str().unwrap().to_owned());
    }
    for kind in ["cycle.check", "cycle.prepare", "cycle.frozen", "cycle.verdict"] {
        assert!(kinds.iter().any(|k| k == &format!("dev.stillpoint.{kind}.v1")), "{kind} is not in {kinds:?}");
    }
    writers.get_on(1);
}
