//! Redis, its writers paused: they never stop by themselves, every copy is what was promised, and the pause outlives nobody.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use stillpoint_tests::comparison::assert_same;
use stillpoint_tests::missing::{can_be_somebody_else, is_root};
use stillpoint_tests::processes;
use stillpoint_tests::program::succeed;
use stillpoint_tests::redis::{Programs, Redis, Settings};
use stillpoint_tests::site::Site;
use stillpoint_tests::unsigned::Unsigned;
use stillpoint_tests::volume::Volume;
use stillpoint_tests::writers::Writers;
use stillpoint_tests::{folder, free_port, wait_until};

const EVERYSEC: Settings = &[("appendonly", "yes"), ("appendfsync", "everysec")];
const ALWAYS: Settings = &[("appendonly", "yes"), ("appendfsync", "always")];
/// A dump is made by nobody but the freeze.
const DUMPS: Settings = &[("appendonly", "no")];

/// One that is backed up has saved or loaded before.
fn has_saved(server: &Redis) {
    server.say("BGSAVE");
    wait_until("it has saved", || server.info("rdb_bgsave_in_progress") == "0");
}

/// Whether a write is done at once.
fn writes_go_on(server: &Redis) -> bool {
    let mut write = Command::new("timeout");
    write.arg("1").arg(&server.programs().client).arg("-s").arg(server.socket()).args(["SET", "probe", "1"]);
    write.output().unwrap().stdout == b"OK\n"
}

/// One cycle on a volume: a block image, a snapshot and a copy of files, each opened by a second server.
fn cycle(test: &str, programs: Option<Programs>, settings: Settings<'_>) {
    let Some(programs) = programs else { return };
    let Some(volume) = Volume::make(test) else { return };
    let server = Redis::on(&programs, &volume.data().join("redis"), settings);
    let appends = settings[0].1 == "yes";
    if !appends {
        has_saved(&server);
    }
    let ipc = volume.data().join("ipc");
    std::fs::create_dir(&ipc).unwrap();
    let site = Site::with(&server.configuration(&format!("ipc_folder = {}\ntimeout = 60\n", ipc.display())));
    let writers = server.writers(4);
    writers.get_on(1000);
    let files = tempfile::Builder::new().prefix("sp").tempdir().unwrap();
    let (said, window, (image, snapshot)) = site.while_frozen(|| {
        let copies = volume.image_and_snapshot();
        succeed(Command::new("cp").arg("--recursive").arg(volume.data().join("redis")).arg(files.path()), "");
        copies
    });
    writers.get_on(100);
    let log = writers.stop();
    said.assert_still();
    eprintln!("standstill {} µs, longest gap of a writer {:?}", said.json["standstill_us"], log.longest_gap());
    let point = said.point();
    assert_eq!(point["role"], "primary");
    assert_eq!(point["run id"], server.info("run_id"));
    assert_eq!(point.contains_key("appended bytes"), appends, "{point:?}");
    drop(server);

    for copy in [snapshot.join("redis"), files.path().join("redis")] {
        let rows = Redis::on(&programs, &copy, settings).rows();
        assert_same(&copy.display().to_string(), &log, window, &rows);
    }
    let volume = volume.replaced_by(image);
    let rows = Redis::on(&programs, &volume.data().join("redis"), settings).rows();
    assert_same("the block image", &log, window, &rows);
}

#[test]
fn an_append_only_file_that_is_synced_each_second() {
    let test = "an_append_only_file_that_is_synced_each_second";
    cycle(test, Programs::find(test), EVERYSEC);
}

#[test]
fn an_append_only_file_that_is_synced_always() {
    let test = "an_append_only_file_that_is_synced_always";
    cycle(test, Programs::find(test), ALWAYS);
}

#[test]
fn dumps_alone() {
    let test = "dumps_alone";
    cycle(test, Programs::find(test), DUMPS);
}

mod newer {
    use super::*;

    #[test]
    #[ignore = "newer: Valkey 9"]
    fn an_append_only_file_of_valkey() {
        let test = "an_append_only_file_of_valkey";
        cycle(test, Programs::newer(test), EVERYSEC);
    }

    #[test]
    #[ignore = "newer: Valkey 9"]
    fn dumps_of_valkey() {
        let test = "dumps_of_valkey";
        cycle(test, Programs::newer(test), DUMPS);
    }
}

/// Each sync takes longer than a second, so the server keeps what it has acknowledged for up to two: the freeze waits.
#[test]
fn a_disk_that_is_slow_to_sync_loses_nothing() {
    let test = "a_disk_that_is_slow_to_sync_loses_nothing";
    let Some(programs) = Programs::find(test) else { return };
    let Some(volume) = Volume::make(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(slow) = slow_syncs(test, folder.path()) else { return };
    let data = volume.data().join("redis");
    let server = Redis::with(&programs, &data, EVERYSEC, &[("LD_PRELOAD", &slow)]);
    let site = Site::with(&server.configuration("timeout = 60\nstall_budget = 20\n"));
    let writers = server.writers(2);
    writers.get_on(100);
    wait_until("the server keeps what it acknowledged", || server.info("aof_buffer_length") != "0");
    let (said, window, image) = site.while_frozen(|| volume.block_image());
    writers.get_on(100);
    let log = writers.stop();
    said.assert_still();
    eprintln!("longest gap of a writer {:?}", log.longest_gap());
    drop(server);
    let volume = volume.replaced_by(image);
    let copy = Redis::on(&programs, &volume.data().join("redis"), EVERYSEC);
    assert_same("the block image", &log, window, &copy.rows());
}

/// A library that makes each sync wait first. `None` where there is no compiler.
fn slow_syncs(test: &str, folder: &Path) -> Option<PathBuf> {
    let compiler = stillpoint_tests::missing::program(test, &["cc"], "gcc")?;
    let (source, library) = (folder.join("slow.c"), folder.join("slow.so"));
    let text = "#include <unistd.h>\n#include <sys/syscall.h>\n\
                int fdatasync(int fd) { usleep(1500000); return syscall(SYS_fdatasync, fd); }\n";
    std::fs::write(&source, text).unwrap();
    succeed(Command::new(compiler).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source), "");
    Some(library)
}

/// What `stillpoint recovery` prints is run as it stands, by a shell.
#[test]
fn the_printed_commands_make_a_server_of_the_snapshot() {
    let test = "the_printed_commands_make_a_server_of_the_snapshot";
    let Some(programs) = Programs::find(test) else { return };
    if !is_root(test, "what is printed is for root") {
        return;
    }
    for settings in [EVERYSEC, DUMPS] {
        let folder = folder::with_mode(0o755);
        let server = Redis::on(&programs, &folder.path().join("data"), settings);
        has_saved(&server);
        let site = Site::with(&server.configuration("timeout = 60\n"));
        let writers = server.writers(2);
        writers.get_on(100);
        // As if the disk of the copy were mounted at `mount`.
        let (mount, data) = (folder.path().join("mount"), server.data().to_owned());
        let lies = mount.join(data.strip_prefix("/").unwrap());
        std::fs::create_dir_all(lies.parent().unwrap()).unwrap();
        let copy = || succeed(Command::new("cp").arg("--archive").arg(&data).arg(&lies), "");
        let (said, window, _) = site.while_frozen(copy);
        // No server runs as root but one of a test's.
        succeed(Command::new("chown").args(["--recursive", "redis"]).arg(&lies), "");
        writers.get_on(20);
        let log = writers.stop();
        said.assert_still();
        drop(server);
        let cycle = said.cycle();
        for route in ["attached-disks", "scratch"] {
            let to = folder.path().join(route);
            let mut path = std::env::var("PATH").unwrap();
            if let Some(folder) = programs.client.parent() {
                path = format!("{}:{path}", folder.display());
            }
            let arguments = ["recovery", cycle, "--route", route, "--snapshot"];
            let mut print = site.command(&arguments);
            let printed = succeed(print.arg(&mount).arg("--folder").arg(&to), "");
            // The scratch server is left to whoever takes something out of it.
            let whole = if route == "scratch" {
                let client = programs.client.display();
                format!("{printed}\n{client} -s {}/stillpoint.sock SHUTDOWN NOSAVE; wait\n", to.display())
            } else {
                printed
            };
            let ended = succeed(Command::new("sh").env("PATH", path), &whole);
            assert!(ended.contains("db0:keys=2"), "{route}: {ended}");
            let rows = Redis::on(&programs, &to, settings).rows();
            assert_same(route, &log, window, &rows);
        }
    }
}

#[test]
fn a_replica_is_frozen_as_a_replica() {
    let test = "a_replica_is_frozen_as_a_replica";
    let folder = tempfile::tempdir().unwrap();
    let primary_settings = [EVERYSEC, &[("repl-diskless-sync-delay", "0")]].concat();
    let Some(programs) = Programs::find(test) else { return };
    // Replicas follow by network alone.
    let port = free_port().to_string();
    let primary = [&primary_settings[..], &[("port", &port), ("bind", "127.0.0.1")]].concat();
    let primary = Redis::on(&programs, &folder.path().join("primary"), &primary);
    let follows = format!("127.0.0.1 {port}");
    let following = [EVERYSEC, &[("replicaof", &follows)]].concat();
    let replica = Redis::on(&programs, &folder.path().join("replica"), &following);
    let writers = primary.writers(2);
    wait_until("the replica follows", || replica.info("master_link_status") == "up");
    let site = Site::with(&replica.configuration("timeout = 60\n"));
    let told = site.json(&["check"]).findings();
    assert!(told.iter().any(|f| f.starts_with("note: this is a replica")), "{told:?}");
    writers.get_on(100);
    wait_until("what is written reaches the replica", || !replica.rows().is_empty());
    let had = replica.rows();
    site.freeze();
    let size = replica.info("aof_current_size");
    let copy = folder.path().join("copy");
    succeed(Command::new("cp").arg("--recursive").arg(replica.data()).arg(&copy), "");
    // The primary's writers do not wait, and nothing of theirs is written here.
    writers.get_on(1000);
    assert_eq!(replica.info("aof_current_size"), size);
    let said = site.json(&["thaw"]);
    said.assert_still();
    assert_eq!(said.point()["role"], "replica");
    wait_until("the replica follows again", || replica.info("aof_current_size") != size);
    // What is in the copy ends at the offset that was recorded: as many rows as the primary had acknowledged by then.
    let rows = Redis::on(&programs, &copy, EVERYSEC).rows();
    assert!(had.is_subset(&rows), "{} of {} rows of the replica are in the copy", rows.len(), had.len());
    assert!(rows.iter().all(|(w, s)| *s == 1 || rows.contains(&(*w, s - 1))), "a copy with a gap");
    let log = writers.stop();
    assert!(rows.len() < log.acknowledged(), "what was written meanwhile is in the copy");
}

fn frozen(test: &str, more: &str) -> Option<(Redis, Site, Writers)> {
    let server = Redis::private(test, EVERYSEC)?;
    let site = Site::with(&server.configuration(more));
    let writers = server.writers(2);
    writers.get_on(20);
    site.freeze();
    assert!(!writes_go_on(&server), "it stands still");
    Some((server, site, writers))
}

#[test]
fn the_keeper_is_killed() {
    let Some((server, site, writers)) = frozen("the_keeper_is_killed", "timeout = 60\n") else { return };
    site.kill_keeper();
    // Long before the pause ends by itself.
    wait_until("the guard lets writers go on", || writes_go_on(&server));
    writers.get_on(20);
    site.wait_for_the_guard();
    assert_eq!(site.json(&["thaw"]).code, Some(5));
    site.json(&["run", "--", "true"]).assert_still();
    assert!(writers.stop().longest_gap() < Duration::from_secs(20), "the pause ended by itself");
}

/// Nobody of ours is left, so the server ends the pause.
#[test]
fn keeper_and_guard_are_killed() {
    let Some((server, site, writers)) = frozen("keeper_and_guard_are_killed", "timeout = 5\n") else { return };
    let began = Instant::now();
    site.kill_keeper_and_guard();
    assert!(!writes_go_on(&server), "nobody is left who thaws");
    writers.get_on(20);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let said = site.json(&["recover"]);
    said.assert_fault(5, "SP-CYCLE-011");
    site.json(&["run", "--", "true"]).assert_still();
}

#[test]
fn a_client_that_hangs_keeps_nobody_waiting() {
    let test = "a_client_that_hangs_keeps_nobody_waiting";
    let Some((server, site, writers)) = frozen(test, "timeout = 60\n") else { return };
    let ours = clients(&server);
    assert_eq!(ours.len(), 2, "one session, and the guard's");
    kill(ours[0], Signal::SIGSTOP).unwrap();
    kill(ours[1], Signal::SIGSTOP).unwrap();
    let said = site.json(&["thaw"]);
    for pid in ours {
        // It is ended by then, or lives on.
        let _ = kill(pid, Signal::SIGCONT);
    }
    said.assert_crash_consistent();
    writers.get_on(20);
    assert!(writers.stop().longest_gap() < Duration::from_secs(30), "the pause ended by itself");
    assert_eq!(site.json(&["status"]).code, Some(0));
}

/// The clients that are connected to this server for us.
fn clients(server: &Redis) -> Vec<nix::unistd::Pid> {
    processes::with_words(&[&server.socket().display().to_string(), "--json"])
}

/// Keeper and guard are held up until the server has ended the pause: the verdict tells.
#[test]
fn a_pause_that_has_expired_is_no_standstill() {
    let test = "a_pause_that_has_expired_is_no_standstill";
    let Some((_server, site, writers)) = frozen(test, "timeout = 5\n") else { return };
    let both = [site.process("guard"), site.process("keeper")];
    both.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
    writers.get_on(20);
    both.iter().rev().for_each(|pid| kill(*pid, Signal::SIGCONT).unwrap());
    site.json(&["thaw"]).assert_crash_consistent();
    writers.get_on(20);
}

#[test]
fn a_pause_that_somebody_ended_is_no_standstill() {
    for settings in [EVERYSEC, DUMPS] {
        let Some(server) = Redis::private("a_pause_that_somebody_ended_is_no_standstill", settings) else { return };
        has_saved(&server);
        let site = Site::with(&server.configuration("timeout = 60\n"));
        let writers = server.writers(2);
        writers.get_on(20);
        site.freeze();
        server.say("CLIENT UNPAUSE");
        writers.get_on(20);
        // Nothing seems to be written since the last save; but there was one more.
        if settings == DUMPS {
            server.say("CLIENT PAUSE 60000 WRITE");
            has_saved(&server);
            assert_eq!(server.info("rdb_changes_since_last_save"), "0");
        }
        site.json(&["thaw"]).assert_crash_consistent();
        writers.get_on(20);
    }
}

/// What is emptied is also saved, by the way: no dump is counted, and nothing has changed since.
#[test]
fn a_server_that_somebody_emptied_is_no_standstill() {
    let settings = [DUMPS, &[("save", "3600 1")]].concat();
    let Some(server) = Redis::private("a_server_that_somebody_emptied_is_no_standstill", &settings) else { return };
    server.say("SET a 1");
    has_saved(&server);
    let site = Site::with(&server.configuration("timeout = 60\n"));
    site.freeze();
    let saved = server.info("rdb_last_save_time");
    server.say("CLIENT UNPAUSE");
    wait_until("another second is counted", || {
        server.say("FLUSHALL");
        server.info("rdb_last_save_time") != saved
    });
    site.json(&["thaw"]).assert_crash_consistent();
}

/// What expires is no change, and yet it is gone.
#[test]
fn a_server_in_which_keys_expired_is_no_standstill() {
    let Some(server) = Redis::private("a_server_in_which_keys_expired_is_no_standstill", EVERYSEC) else { return };
    let site = Site::with(&server.configuration("timeout = 60\n"));
    // Some of them, whenever it is that everything stands still.
    server.say(&(1..=200).map(|i| format!("SET key:{i} 1 PX {}", i * 100)).collect::<Vec<_>>().join("\n"));
    site.freeze();
    let expired = server.info("expired_keys");
    server.say("CLIENT UNPAUSE");
    wait_until("some have expired", || server.info("expired_keys") != expired);
    site.json(&["thaw"]).assert_crash_consistent();
}

/// One server hangs, and its socket takes nobody in: the other one is let go all the same.
#[test]
fn a_server_that_hangs_does_not_keep_another_one_frozen() {
    let test = "a_server_that_hangs_does_not_keep_another_one_frozen";
    let Some(good) = Redis::private(test, EVERYSEC) else { return };
    let Some(hanging) = Redis::private(test, &[EVERYSEC, &[("tcp-backlog", "1")]].concat()) else { return };
    let section = |name: &str, server: &Redis, more: &str| {
        server.configuration(&format!("timeout = 120\n{more}")).replace("[workload]", &format!("[workload {name}]"))
    };
    let site = Site::with(&(section("good", &good, "order = 1\n") + &section("hanging", &hanging, "order = 2\n")));
    let writers = good.writers(1);
    writers.get_on(10);
    site.freeze();
    hanging.signal(Signal::SIGSTOP);
    let mut waiting = Vec::new();
    while let Some(stream) = connected(&hanging.socket()) {
        waiting.push(stream);
    }
    let killed = Instant::now();
    site.kill_keeper();
    writers.get_on(1);
    let took = killed.elapsed();
    hanging.signal(Signal::SIGCONT);
    // Its own end of the pause is two minutes.
    assert!(took < Duration::from_secs(60), "{took:?}");
    drop(waiting);
    site.wait_for_the_end();
}

/// A connection, unless nobody is taken in there any more.
fn connected(socket: &Path) -> Option<std::os::fd::OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket as make};
    use std::os::fd::AsRawFd;
    let stream = make(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
    connect(stream.as_raw_fd(), &UnixAddr::new(socket).unwrap()).ok().map(|()| stream)
}

/// The server rewrites its append-only file, or makes a dump, whenever it likes. A copy of one instant is whole all the same;
/// one that is made file by file may lack what the rewrite took away.
#[test]
fn what_the_server_writes_anew_meanwhile_takes_nothing_from_a_copy_of_one_instant() {
    let test = "what_the_server_writes_anew_meanwhile_takes_nothing_from_a_copy_of_one_instant";
    let Some(programs) = Programs::find(test) else { return };
    let Some(volume) = Volume::make(test) else { return };
    let slow = [EVERYSEC, &[("rdb-key-save-delay", "1000")]].concat();
    let server = Redis::on(&programs, &volume.data().join("redis"), &slow);
    server.say(&(0..200).map(|i| format!("SET key:{i} 1")).collect::<Vec<_>>().join("\n"));
    let site = Site::new();
    let end_of = |what: &str| wait_until(what, || server.info(what) == "0");
    for (kind, anew, under_way) in [
        ("atomic", "BGREWRITEAOF", "aof_rewrite_in_progress"),
        ("atomic", "BGSAVE", "rdb_bgsave_in_progress"),
        ("files", "BGREWRITEAOF", "aof_rewrite_in_progress"),
    ] {
        site.configure(&server.configuration(&format!("timeout = 60\nsnapshot = {kind}\n")));
        server.say("DEL writes:0 writes:1");
        let writers = server.writers(2);
        writers.get_on(1000);
        let (said, window, copies) = site.while_frozen(|| {
            // In one connection, for it does not take long.
            let said = server.say(&format!("{anew}\nINFO persistence"));
            assert!(said.contains(&format!("{under_way}:1")), "{said}");
            let during = volume.snapshot("during");
            end_of(under_way);
            [during, volume.snapshot("after")]
        });
        writers.get_on(20);
        let log = writers.stop();
        if kind == "files" {
            said.assert_crash_consistent();
        } else {
            said.assert_still();
        }
        for copy in copies {
            let rows = Redis::on(&programs, &copy.join("redis"), EVERYSEC).rows();
            assert_same(&format!("{}, {anew}", copy.display()), &log, window, &rows);
            succeed(Command::new("btrfs").args(["-q", "subvolume", "delete"]).arg(&copy), "");
        }
    }
}

/// A pause is never shortened by another one; but whoever ends one ends all.
#[test]
fn somebody_pauses_as_well() {
    let test = "somebody_pauses_as_well";
    let Some(server) = Redis::private(test, EVERYSEC) else { return };
    let site = Site::with(&server.configuration("timeout = 60\n"));
    let writers = server.writers(2);
    writers.get_on(20);
    server.say("CLIENT PAUSE 60000 WRITE");
    site.freeze();
    server.say("CLIENT PAUSE 1 WRITE");
    assert!(!writes_go_on(&server));
    site.json(&["thaw"]).assert_still();
    writers.get_on(20);
    assert!(writers.stop().longest_gap() < Duration::from_secs(30));
}

/// A dump that does not fit into the budget is given up, and the next time nobody is made to wait for it.
#[test]
fn a_dump_that_takes_long_costs_the_budget_and_no_more() {
    let test = "a_dump_that_takes_long_costs_the_budget_and_no_more";
    // In microseconds for each key.
    let slow = [DUMPS, &[("rdb-key-save-delay", "10000")]].concat();
    let Some(server) = Redis::private(test, &slow) else { return };
    has_saved(&server);
    let fill = |n| server.say(&(0..n).map(|i| format!("SET key:{i} 1")).collect::<Vec<_>>().join("\n"));
    fill(500);
    let site = Site::with(&server.configuration("timeout = 60\nstall_budget = 1\n"));
    let writers = server.writers(2);
    writers.get_on(20);
    let said = site.json(&["freeze"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("stall_budget") && said.text.contains("appendonly"), "{}", said.text);
    writers.get_on(20);
    let gap = writers.log().longest_gap();
    assert!(gap > Duration::from_millis(700) && gap < Duration::from_secs(3), "{gap:?}");
    // That one is still under way: prepare waits for it, and then knows.
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("the last dump took"), "{}", said.text);
    let told = site.json(&["check"]).findings();
    assert!(told.iter().any(|f| f.starts_with("problem: the last dump took")), "{told:?}");
    let paused = |e: &serde_json::Value| e["name"].as_str().is_some_and(|name| name.starts_with("pause_"));
    assert!(!site.entries(&said).iter().any(paused), "the second time nobody waits");
    assert!(writers.stop().errors.is_empty());
}

/// Somebody else's dump lacks what is written while it is made.
#[test]
fn somebody_elses_dump_is_waited_for_and_not_taken_for_ours() {
    let test = "somebody_elses_dump_is_waited_for_and_not_taken_for_ours";
    let Some(programs) = Programs::find(test) else { return };
    let slow = [DUMPS, &[("rdb-key-save-delay", "2000")]].concat();
    let folder = tempfile::tempdir().unwrap();
    let server = Redis::on(&programs, &folder.path().join("data"), &slow);
    has_saved(&server);
    server.say(&(0..200).map(|i| format!("SET key:{i} 1")).collect::<Vec<_>>().join("\n"));
    let site = Site::with(&server.configuration("timeout = 60\n"));
    let writers = server.writers(2);
    writers.get_on(20);
    let begun = server.say("BGSAVE\nINFO persistence");
    assert!(begun.contains("rdb_bgsave_in_progress:1"), "{begun}");
    let copy = folder.path().join("copy");
    let copying = || succeed(Command::new("cp").arg("--recursive").arg(server.data()).arg(&copy), "");
    let (said, window, _) = site.while_frozen(copying);
    writers.get_on(20);
    let log = writers.stop();
    said.assert_still();
    let rows = Redis::on(&programs, &copy, DUMPS).rows();
    assert_same("the copy", &log, window, &rows);
}

const SECRET: &str = r#"hunter2 '"\x41 ü"#;

/// The least login, by a socket with a password, as another user of the machine.
#[test]
fn the_least_login_suffices_and_its_password_is_seen_nowhere() {
    let test = "the_least_login_suffices_and_its_password_is_seen_nowhere";
    if !can_be_somebody_else(test) {
        return;
    }
    let Some(server) = Redis::private(test, EVERYSEC) else { return };
    let site = Site::new();
    let login = |password: &str| {
        let word = password.replace('\\', "\\\\").replace('"', "\\\"");
        site.credential(&format!("-u backup \"-p{word}\" -S {}", server.socket().display()))
    };
    let credential = login(SECRET);
    site.configure(&format!(
        "[workload]\nworkload_name = redis\nlinux_user = nobody\ncredential_file = {}\ntimeout = 60\n{}",
        credential.display(),
        stillpoint_tests::newer::command_path(&server.programs().client)
    ));
    let printed = site.call(&["privileges", "redis"]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    // As it was printed, by the administrator; comments are none of its language.
    let made: Vec<&str> = printed.stdout.lines().filter(|l| !l.starts_with("--")).collect();
    assert_eq!(server.say(&made.join("\n")).trim(), "OK");
    assert_eq!(site.json(&["check"]).faults(), ["SP-DB-001"], "nobody can log in before it has a password");
    let bytes: String = format!(">{SECRET}").bytes().map(|b| format!("\\x{b:02x}")).collect();
    server.say(&format!("ACL SETUSER backup \"{bytes}\""));
    // Whoever does not log in may do nothing.
    server.say("ACL SETUSER default off");
    let said = site.json(&["check"]);
    assert_eq!((said.code, said.findings()), (Some(0), Vec::new()), "{}", said.text);

    let frozen = site.freeze();
    assert_eq!(clients(&server).len(), 2);
    processes::show_nowhere("hunter2");
    let said = site.json(&["thaw"]);
    said.assert_still();
    assert!(!frozen.text.contains("hunter2") && !said.text.contains("hunter2"));
    assert_eq!(
        folder::files_with("hunter2", &site.path("")),
        [credential.as_path()],
        "nowhere but where it is configured"
    );
    assert!(!server.errors().contains("hunter2"));

    login("wrong");
    let said = site.json(&["check"]);
    assert_eq!(said.faults(), ["SP-DB-001"], "{}", said.text);
    assert!(said.text.contains("WRONGPASS"), "{}", said.text);
}

#[test]
fn a_login_with_other_rights_is_told() {
    let test = "a_login_with_other_rights_is_told";
    let Some(server) = Redis::private(test, EVERYSEC) else { return };
    let configuration = server.configuration("timeout = 60\n");
    let site = Site::with(&configuration.replace("credString = ", "credString = -u backup -pword "));
    let printed = site.call(&["privileges", "redis"]).stdout;
    let made = printed.lines().find(|l| !l.starts_with("--")).unwrap().to_owned();
    let login = |more: &str| server.say(&format!("{made} >word {more}"));
    login("+@all");
    let told = site.json(&["check"]).findings();
    assert!(told.len() == 1 && told[0].starts_with("note: the login backup may do far more"), "{told:?}");
    for command in ["CLIENT PAUSE", "CLIENT UNPAUSE", "BGSAVE"] {
        login(&format!("-{}", command.to_lowercase().replace(' ', "|")));
        let said = site.json(&["check"]);
        assert_eq!(said.code, Some(4), "{}", said.text);
        let told = said.findings();
        assert_eq!(told, [format!("problem: the login backup may not run {command}: see stillpoint privileges")]);
    }
    login("-acl|dryrun");
    let told = site.json(&["check"]).findings();
    assert!(told.len() == 1 && told[0].starts_with("warning: the login may not ask"), "{told:?}");
    login("-info");
    let said = site.json(&["check"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("NOPERM") && said.text.contains("'info'"), "{}", said.text);
}

#[test]
fn check_tells_what_an_administrator_must_know() {
    let test = "check_tells_what_an_administrator_must_know";
    let Some(server) = Redis::private(test, DUMPS) else { return };
    let site = Site::with(&server.configuration("timeout = 60\n"));
    server.say("SET a 1");
    // As good as a cache: a dump would be loaded by the next start.
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.findings()[0].starts_with("problem: this server has no append-only file, and since"), "{}", said.text);
    assert!(!server.data().join("dump.rdb").exists(), "nothing was saved");
    has_saved(&server);
    let told = site.json(&["check"]).findings();
    assert!(told[0].starts_with("note: there is no append-only file"), "{told:?}");
    // A folder where the dump should be.
    std::fs::remove_file(server.data().join("dump.rdb")).unwrap();
    std::fs::create_dir_all(server.data().join("dump.rdb/in the way")).unwrap();
    server.say("BGSAVE");
    wait_until("it fails", || server.info("rdb_last_bgsave_status") == "err");
    let said = site.json(&["check"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("the last BGSAVE failed"), "{}", said.text);
    drop(server);

    let Some(server) = Redis::private(test, &[("appendonly", "yes"), ("cluster-enabled", "yes")]) else { return };
    site.configure(&server.configuration("timeout = 60\n"));
    let said = site.json(&["check"]);
    assert!(said.findings()[0].starts_with("warning: this server is one of a cluster"), "{}", said.text);
    site.json(&["run", "--", "true"]).assert_still();
}

/// Its own name for itself means another process here.
#[test]
fn a_process_that_is_no_server_is_not_believed() {
    let test = "a_process_that_is_no_server_is_not_believed";
    let Some(server) = Redis::private(test, EVERYSEC) else { return };
    let module = Unsigned::of("redis");
    module.lie(&[("\"redis-server\", \"valkey-server\"", "\"another\"")]);
    let site = Site::with(&server.configuration(&format!("timeout = 60\n{}", module.line())));
    let said = site.json(&["--allow-unsigned", "run", "--", "true"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.faults().contains(&"SP-DB-016".to_owned()), "{}", said.text);
    assert!(said.text.contains("in a container"), "{}", said.text);
}

#[test]
fn a_server_that_dies_is_told_in_its_own_words() {
    let test = "a_server_that_dies_is_told_in_its_own_words";
    let Some((server, site, _writers)) = frozen(test, "timeout = 60\n") else { return };
    server.signal(Signal::SIGKILL);
    let began = Instant::now();
    let said = site.json(&["thaw"]);
    assert_eq!(said.json["verdict"], "crash-consistent", "{}", said.text);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let told = site.json(&["check"]);
    assert_eq!(told.faults(), ["SP-DB-001"], "{}", told.text);
    assert!(told.text.contains("Could not connect"), "{}", told.text);
}
