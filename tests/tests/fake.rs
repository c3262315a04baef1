//! Effects of each lifetime, on the fake database server: it alone has one that outlasts its session.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use stillpoint_tests::crash::soon;
use stillpoint_tests::dist;
use stillpoint_tests::fake::{self, FakeServer, FakeSession, Misbehaviour};
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::unsigned::Unsigned;
use stillpoint_tests::writers::Writers;
use stillpoint_tests::{PATIENCE, wait_until};

fn scene(name: &str, timeout: u32) -> (FakeServer, Site, Writers) {
    let server = FakeServer::private();
    let site = server.site(name, timeout);
    let writers = server.writers(2);
    writers.get_on(10);
    (server, site, writers)
}

/// Recovers, once nobody else does: a guard tries for a minute.
fn try_recover(site: &Site) -> Said {
    let mut said = site.json(&["recover"]);
    let alone = soon(PATIENCE * 2, || {
        if said.code == Some(7) {
            said = site.json(&["recover"]);
        }
        said.code != Some(7)
    });
    assert!(alone, "somebody else holds the lock: {}", said.text);
    said
}

fn recover(site: &Site) -> Said {
    let said = try_recover(site);
    assert!(matches!(said.code, Some(0 | 5)), "{}", said.text);
    said
}

fn assert_thawed(server: &FakeServer, site: &Site) {
    site.assert_nothing_is_frozen();
    assert_eq!(server.frozen(), "");
    assert!(server.writes());
}

fn moved(writers: &Writers, since: Instant) -> bool {
    writers.log().commits.iter().any(|c| c.begun > since && c.acknowledged.is_some())
}

/// What others than the test sent since then.
fn sent(server: &FakeServer, from: usize) -> Vec<String> {
    server.received()[from..].iter().map(|r| r.text.clone()).collect()
}

/// Two whole cycles: one round a command, and one of freeze and thaw, in which it is looked at.
fn whole_cycle(name: &str, frozen: &str, kind: &str) {
    let (server, site, writers) = scene(name, 60);
    let said = site.json(&["run", "--", "true"]);
    said.assert_consistent();
    assert_eq!(said.json["kind"], kind, "{}", said.text);
    assert_thawed(&server, &site);
    writers.get_on(5);
    site.freeze();
    let at = Instant::now();
    assert_eq!(server.frozen(), frozen);
    if kind == "still" {
        assert!(!server.writes(), "it stands still");
        assert!(!moved(&writers, at), "a writer got on");
    } else {
        writers.get_on(5);
    }
    let said = site.json(&["thaw"]);
    said.assert_consistent();
    assert_thawed(&server, &site);
    writers.get_on(5);
    let log = writers.stop();
    let rows = server.rows();
    assert!(log.errors.is_empty(), "{:?}", log.errors);
    let kept = |c: &&stillpoint_tests::writers::Commit| rows.contains(&(c.writer, c.sequence));
    assert_eq!(log.commits.iter().filter(|c| c.acknowledged.is_some()).filter(kept).count(), log.acknowledged());
    wait_until("the server has seen that they are gone", || server.sessions() == 0);
}

#[test]
fn an_effect_of_the_session() {
    whole_cycle("fake-session", "lock", "still");
}

#[test]
fn an_effect_that_expires() {
    whole_cycle("fake-expires", "pause", "still");
}

#[test]
fn an_effect_in_the_servers_memory() {
    whole_cycle("fake-server", "readonly", "still");
}

#[test]
fn an_effect_on_disk() {
    whole_cycle("fake-disk", "backup", "recoverable");
}

#[test]
fn an_effect_on_disk_that_stops_writes() {
    whole_cycle("fake-suspend", "suspended", "still");
}

#[test]
fn all_effects_at_once() {
    whole_cycle("fake-all", "lock pause readonly backup suspended", "still");
}

#[test]
fn the_host_takes_back_what_the_module_forgets() {
    whole_cycle("fake-all-forget", "lock pause readonly backup suspended", "still");
}

#[test]
fn the_value_that_was_there_comes_back() {
    let server = FakeServer::private();
    let site = server.site("fake-server", 60);
    for before in [true, false, true] {
        server.sql(&format!("SET READONLY {}", u8::from(before)));
        let from = server.received().len();
        let said = site.json(&["run", "--", "true"]);
        assert_eq!(said.code, Some(0), "{}", said.text);
        assert_eq!(server.readonly(), before, "{}", said.text);
        let undo = format!("SET READONLY {}", u8::from(before));
        let all = sent(&server, from);
        let set: Vec<&String> = all.iter().filter(|s| s.starts_with("SET READONLY")).collect();
        assert_eq!(set, ["SET READONLY 1", &undo]);
        site.assert_nothing_is_frozen();
    }
}

/// Of two proofs one suffices: that the other fails does not say that nothing is frozen.
#[test]
fn a_freeze_with_two_proofs_is_taken_back_though_one_of_them_fails() {
    let server = FakeServer::private();
    let site = server.site("fake-server", 60);
    let module = Unsigned::beside(&dist::bundle("guests", "fake"));
    let holds = "holds   = { statement = \"readonly\", answer = { integer = 1 } }";
    let both = format!("holds = {{ statement = \"locked\", answer = {{ integer = 1 }} }}\nor_{holds}");
    module.lie(&[(holds, &both)]);
    site.add_to_configuration(&module.line());
    let said = site.json(&["--allow-unsigned", "run", "--", "true"]);
    said.assert_still();
    let said = site.json(&["--allow-unsigned", "freeze"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    site.kill_keeper();
    site.wait_for_the_end();
    recover(&site);
    assert!(!server.readonly());
    assert_thawed(&server, &site);
}

#[test]
fn what_ended_by_itself_was_not_held() {
    let (server, site, writers) = scene("fake-expires-brief", 60);
    site.freeze();
    wait_until("the pause is over", || server.frozen().is_empty());
    writers.get_on(1);
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    assert_thawed(&server, &site);
}

#[test]
fn what_somebody_else_froze_is_left_alone() {
    let (server, site, _writers) = scene("fake-all", 60);
    for (begin, flag) in [("BEGIN BACKUP", "backup"), ("SUSPEND DISK", "suspended")] {
        server.sql(begin);
        let from = server.received().len();
        let said = site.json(&["run", "--", "true"]);
        said.assert_failed();
        assert_eq!(server.frozen(), flag, "{}", said.text);
        assert!(!sent(&server, from).iter().any(|s| s.starts_with("END") || s.starts_with("RESUME")));
        server.sql(if flag == "backup" { "END BACKUP" } else { "RESUME DISK" });
        site.assert_nothing_is_frozen();
    }
}

#[test]
fn a_server_on_which_logins_hang_while_it_is_frozen() {
    let server = FakeServer::with(&["--logins-hang-while-frozen"]);
    let site = server.site("fake-all", 60);
    let writers = server.writers(1);
    site.freeze();
    let said = site.json(&["thaw"]);
    said.assert_still();
    assert_thawed(&server, &site);
    writers.get_on(5);
}

/// A freeze that fails on its way is taken back to its beginning.
#[test]
fn a_freeze_that_fails_halfway() {
    for what in [Misbehaviour::Fail, Misbehaviour::FailAfterwards] {
        let (server, site, writers) = scene("fake-all", 60);
        server.misbehave(true, what, "SET READONLY 1");
        let said = site.json(&["run", "--", "true"]);
        said.assert_failed();
        assert_thawed(&server, &site);
        writers.get_on(5);
    }
}

/// Sending it again may find nothing to undo: that is no failure, and nothing stays armed.
fn the_undo_is_done_and_answered_with_an_error(name: &str, undo: &str) {
    let (server, site, writers) = scene(name, 60);
    server.misbehave(true, Misbehaviour::FailAfterwards, undo);
    let said = site.json(&["run", "--", "true"]);
    writers.get_on(5);
    assert_eq!(server.frozen(), "");
    assert_eq!(said.code, Some(0), "{name}: {}", said.text);
    assert_thawed(&server, &site);
}

#[test]
fn an_undo_of_the_session_that_is_done_and_answered_with_an_error() {
    the_undo_is_done_and_answered_with_an_error("fake-session", "UNLOCK");
}

#[test]
fn an_undo_in_the_servers_memory_that_is_done_and_answered_with_an_error() {
    the_undo_is_done_and_answered_with_an_error("fake-server", "SET READONLY 0");
}

#[test]
fn an_undo_on_disk_that_is_done_and_answered_with_an_error() {
    the_undo_is_done_and_answered_with_an_error("fake-disk", "END BACKUP");
}

#[test]
fn an_undo_on_disk_of_stopped_writes_that_is_done_and_answered_with_an_error() {
    the_undo_is_done_and_answered_with_an_error("fake-suspend", "RESUME DISK");
}

/// The session is the lock.
#[test]
fn the_keeper_is_killed_while_it_holds_a_session() {
    let (server, site, writers) = scene("fake-session", 60);
    site.freeze();
    site.kill_keeper();
    writers.get_on(1);
    recover(&site);
    assert_thawed(&server, &site);
}

/// It is ended early; nobody waits for its own end.
#[test]
fn the_keeper_is_killed_while_it_holds_what_expires() {
    let (server, site, writers) = scene("fake-expires", 60);
    site.freeze();
    site.kill_keeper();
    recover(&site);
    assert_thawed(&server, &site);
    assert_eq!(server.times_received("RESUME"), 1);
    writers.get_on(5);
}

/// The server ends it by itself, and not before its time.
#[test]
fn what_expires_ends_without_anybody() {
    let server = FakeServer::private();
    let writers = server.writers(2);
    writers.get_on(10);
    let before = Instant::now();
    server.sql("PAUSE 1500");
    let paused = Instant::now();
    assert!(!moved(&writers, paused));
    // The first may have been done before, and noted after.
    writers.get_on(2);
    assert!(before.elapsed() >= Duration::from_millis(1500), "after {:?}", before.elapsed());
}

#[test]
fn the_keeper_is_killed_while_it_holds_the_servers_memory() {
    let server = FakeServer::private();
    let site = server.site("fake-server", 60);
    for before in [false, true] {
        server.sql(&format!("SET READONLY {}", u8::from(before)));
        site.freeze();
        site.kill_keeper();
        recover(&site);
        assert_eq!(server.readonly(), before);
        site.assert_nothing_is_frozen();
        // Once is enough.
        let from = server.received().len();
        recover(&site);
        assert!(!sent(&server, from).iter().any(|s| s.starts_with("SET READONLY")));
    }
}

#[test]
fn the_keeper_is_killed_while_it_holds_the_disk() {
    for (name, undo) in [("fake-disk", "END BACKUP"), ("fake-suspend", "RESUME DISK")] {
        let (server, site, writers) = scene(name, 60);
        site.freeze();
        site.kill_keeper();
        recover(&site);
        assert_thawed(&server, &site);
        assert_eq!(server.times_received(undo), 1);
        writers.get_on(5);
    }
}

#[test]
fn the_keeper_is_killed_while_it_holds_everything() {
    let (server, site, writers) = scene("fake-all", 60);
    site.freeze();
    site.kill_keeper();
    recover(&site);
    assert_thawed(&server, &site);
    writers.get_on(5);
}

/// Keeper, guard and server die while everything is frozen; the server comes back. Gives how many statements it had
/// received.
fn both_die(server: &mut FakeServer, site: &Site) -> usize {
    site.freeze();
    server.kill();
    site.kill_keeper_and_guard();
    server.start();
    server.received().len()
}

/// The new server's value is none of ours, whatever it is.
#[test]
fn a_restarted_servers_memory_is_left_alone() {
    for now in [true, false] {
        let mut server = FakeServer::private();
        let site = server.site("fake-server", 60);
        let from = both_die(&mut server, &site);
        assert!(!server.readonly(), "a restart forgets it");
        if now {
            server.sql("SET READONLY 1");
        }
        let set = |server: &FakeServer| sent(server, from).iter().filter(|s| s.starts_with("SET READONLY")).count();
        let before = set(&server);
        let said = recover(&site);
        assert_eq!(server.readonly(), now, "{}", said.text);
        assert_eq!(set(&server), before, "{:?}", sent(&server, from));
        site.assert_nothing_is_frozen();
    }
}

/// It lasts on disk, so it is taken back also from a server that is up and not open.
#[test]
fn a_restarted_server_is_opened_again() {
    let mut server = FakeServer::private();
    let site = server.site("fake-disk", 60);
    let from = both_die(&mut server, &site);
    assert_eq!(server.sql("SELECT STATE"), "'MOUNTED'");
    assert!(!server.writes());
    recover(&site);
    assert_eq!(server.sql("SELECT STATE"), "'OPEN'");
    assert_eq!(sent(&server, from).iter().filter(|s| *s == "END BACKUP").count(), 1);
    assert_thawed(&server, &site);
}

#[test]
fn a_restarted_servers_disk_goes_on() {
    let mut server = FakeServer::private();
    let site = server.site("fake-suspend", 60);
    both_die(&mut server, &site);
    assert_eq!(server.frozen(), "suspended");
    recover(&site);
    assert_thawed(&server, &site);
}

/// Each entry by its own lifetime: those in memory ended with the server, those on disk did not.
#[test]
fn a_restarted_server_that_held_everything() {
    let mut server = FakeServer::private();
    let site = server.site("fake-all", 60);
    let from = both_die(&mut server, &site);
    assert_eq!(server.frozen(), "backup suspended");
    recover(&site);
    assert_thawed(&server, &site);
    assert!(!sent(&server, from).iter().any(|s| s.starts_with("SET READONLY")), "{:?}", sent(&server, from));
}

/// While the server is down nothing can be taken back, and that is said; afterwards it is.
#[test]
fn a_server_that_is_down_is_recovered_later() {
    let mut server = FakeServer::private();
    let site = server.site("fake-disk", 60);
    site.freeze();
    server.kill();
    site.kill_keeper();
    let said = try_recover(&site);
    assert_eq!(said.code, Some(6), "{}", said.text);
    let status = site.json(&["status"]);
    assert_eq!(status.code, Some(6), "{}", status.text);
    server.start();
    recover(&site);
    assert_thawed(&server, &site);
}

/// What the tests above stand on: that the fake server does what it says.
#[test]
fn the_fake_server_does_what_it_says() {
    let mut server = FakeServer::private();
    let open = || FakeSession::open(&server.socket(), "root").unwrap();
    let (mut one, mut other) = (open(), open());
    // Session: one holds it, the other waits up to its bound; it ends with the session.
    one.run("LOCK").unwrap();
    other.run("SET LOCK WAIT 50").unwrap();
    assert_eq!(other.run("LOCK").unwrap_err().code, fake::LOCK_WAIT);
    assert!(!server.writes());
    drop(one);
    wait_until("the lock is free", || server.frozen().is_empty());
    other.run("LOCK").unwrap();
    // Killed: what it held is free at once.
    let id = other.run("SELECT SESSION").unwrap().remove(0);
    server.sql(&format!("KILL {id}"));
    assert_eq!(server.frozen(), "");
    assert!(server.writes());
    assert_eq!(other.run("SELECT SESSION").unwrap_err().code, fake::LOST);
    // One that waits is told.
    let mut one = open();
    let mut waits = open();
    one.run("LOCK").unwrap();
    let id = waits.run("SELECT SESSION").unwrap().remove(0);
    let waiting = std::thread::spawn(move || waits.run("LOCK").unwrap_err().code);
    wait_until("it waits", || server.times_received("LOCK") >= 5);
    server.sql(&format!("KILL {id}"));
    assert_eq!(waiting.join().unwrap(), fake::KILLED);
    drop(one);
    // Another server after each restart; the disk's flags alone stay.
    let identity = server.sql("SELECT IDENTITY");
    server.sql("SET READONLY 1");
    server.sql("BEGIN BACKUP");
    assert_eq!(server.try_sql("BEGIN BACKUP").unwrap_err().code, fake::BEGUN);
    server.restart();
    assert_ne!(server.sql("SELECT IDENTITY"), identity);
    assert_eq!((server.frozen(), server.backup()), ("backup".into(), true));
    assert_eq!(server.try_sql("SELECT READONLY").unwrap_err().code, fake::MOUNTED);
    server.sql("END BACKUP");
    assert_eq!(server.try_sql("END BACKUP").unwrap_err().code, fake::NOT_BEGUN);
    assert!(!server.readonly() && server.writes());
    server.stop();
    assert_eq!(FakeSession::open(&server.socket(), "root").unwrap_err().code, fake::LOST);
}

#[test]
fn the_fake_server_misbehaves_on_demand() {
    let mut server = FakeServer::private();
    for (what, done, crashes) in [
        (Misbehaviour::Fail, false, false),
        (Misbehaviour::FailAfterwards, true, false),
        (Misbehaviour::CrashBefore, false, true),
        (Misbehaviour::CrashAfter, true, true),
    ] {
        server.misbehave(true, what, "SUSPEND DISK");
        let code = server.try_sql("SUSPEND DISK").unwrap_err().code;
        assert_eq!(code, if crashes { fake::LOST } else { fake::WANTED }, "{what:?}");
        if crashes {
            wait_until("it is dead", || !server.runs());
            server.start();
        }
        assert_eq!(server.sql("SELECT SUSPENDED") == "1", done, "{what:?}");
        if done {
            server.sql("RESUME DISK");
        }
    }
    let slow = Duration::from_millis(200);
    server.misbehave(false, Misbehaviour::Slow(slow), "SELECT ROWS");
    for _ in 0..2 {
        let at = Instant::now();
        server.sql("SELECT ROWS");
        assert!(at.elapsed() >= slow);
    }
    server.behave();
    server.misbehave(false, Misbehaviour::Fail, "LOGIN");
    assert_eq!(FakeSession::open(&server.socket(), "root").unwrap_err().code, fake::WANTED);
    server.behave();
    // One that hangs is ended by another.
    server.misbehave(true, Misbehaviour::Hang, "RESUME");
    let mut hangs = FakeSession::open(&server.socket(), "root").unwrap();
    let id = hangs.run("SELECT SESSION").unwrap().remove(0);
    let hanging = std::thread::spawn(move || hangs.run("RESUME").unwrap_err().code);
    wait_until("it hangs", || server.times_received("RESUME") == 1);
    server.sql(&format!("KILL {id}"));
    assert_eq!(hanging.join().unwrap(), fake::KILLED);
}

#[test]
fn the_fake_servers_logins_while_it_is_frozen() {
    for (option, code) in [("--logins-hang-while-frozen", None), ("--logins-fail-while-frozen", Some(fake::NO_LOGIN))] {
        let server = FakeServer::with(&[option]);
        server.sql("SET READONLY 1");
        let socket = server.socket();
        let login = std::thread::spawn(move || FakeSession::open(&socket, "root").err().map(|e| e.code));
        wait_until("it was asked", || server.times_received("LOGIN root") == 1);
        assert_eq!(server.sessions(), 0);
        if code.is_none() {
            server.sql("SET READONLY 0");
        }
        assert_eq!(login.join().unwrap(), code);
    }
}
