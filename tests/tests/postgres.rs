//! PostgreSQL in its backup mode: writers never stop, every copy holds what was acknowledged, and nothing outlives us.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use stillpoint_tests::comparison::assert_recovered;
use stillpoint_tests::crash::soon;
use stillpoint_tests::folder;
use stillpoint_tests::missing::can_be_somebody_else;
use stillpoint_tests::postgres::{self, Postgres, Programs};
use stillpoint_tests::processes;
use stillpoint_tests::program::succeed;
use stillpoint_tests::said::Said;
use stillpoint_tests::site::{Site, recovery_point};
use stillpoint_tests::unsigned::Unsigned;
use stillpoint_tests::volume::Volume;
use stillpoint_tests::wait_until;

/// The server's own superuser, by its socket.
fn configuration(server: &Postgres, more: &str) -> String {
    server.configuration(&format!("timeout = 60\n{more}"))
}

/// As the least login: a user of every machine, whom the socket knows.
fn least(server: &Postgres, more: &str) -> String {
    configuration(server, more)
        .replace("linux_user = postgres", "linux_user = nobody")
        .replace("-u postgres", "-u nobody")
}

/// One cycle on a volume: a block image and a snapshot, each opened by a second server.
fn cycle(test: &str, programs: Option<Programs>, settings: &[&str]) {
    let Some(programs) = programs else { return };
    let Some(volume) = Volume::make(test) else { return };
    programs.fresh(&volume.data().join("pg"));
    let server = programs.on(&volume.data().join("pg"), settings);
    server.make_table();
    let ipc = volume.data().join("ipc");
    std::fs::create_dir(&ipc).unwrap();
    let site = Site::with(&configuration(&server, &format!("ipc_folder = {}\n", ipc.display())));
    let writers = server.writers(4);
    writers.get_on(20);
    let asked = Instant::now();
    site.freeze();
    let frozen = Instant::now();
    let (image, snapshot) = volume.image_and_snapshot();
    let cut = Instant::now();
    // Nobody waits while it holds.
    writers.get_on(20);
    let said = site.json(&["thaw"]);
    writers.get_on(20);
    let log = writers.stop();
    said.assert_recoverable();
    eprintln!("longest gap of a writer {:?}", log.longest_gap());
    let point = said.point();
    assert_eq!(point.len(), 5, "{}", said.text);

    // What exists only after the snapshot is in the answer, and in no copy.
    let label = said.kept("backup_label");
    assert!(label.contains("LABEL: stillpoint ") && label.contains(said.cycle()), "{label}");
    drop(server);

    let read = |data: &Path| {
        assert_eq!(recovery_point(&data.join("ipc"), "postgres")["cycle"], said.json["cycle"]);
        let copy = programs.on(&data.join("pg"), settings);
        let reached = format!("SELECT pg_current_wal_insert_lsn() >= '{}';", point["lsn"]);
        assert_eq!(copy.sql(&reached), "t\n", "recovery ends before the recorded point {point:?}: {}", copy.errors());
        copy.rows()
    };
    // Who acknowledges first promises nothing of what came between the point and the snapshot.
    let promised = if settings.is_empty() { frozen } else { asked };
    assert_recovered("the snapshot", &log, promised, cut, &read(&snapshot));
    let volume = volume.replaced_by(image);
    assert_recovered("the block image", &log, promised, cut, &read(&volume.data()));
}

#[test]
fn postgres_that_flushes_at_each_commit() {
    let test = "postgres_that_flushes_at_each_commit";
    cycle(test, Programs::debian(test), &[]);
}

mod newer {
    use super::*;

    #[test]
    #[ignore = "newer: PostgreSQL 18"]
    fn postgres_18_that_flushes_at_each_commit() {
        let test = "postgres_18_that_flushes_at_each_commit";
        cycle(test, Programs::newer(test), &[]);
    }
}

/// Its commits are acknowledged before the log is written: the freeze waits for that.
#[test]
fn postgres_that_acknowledges_first() {
    let test = "postgres_that_acknowledges_first";
    cycle(test, Programs::debian(test), &["synchronous_commit=off", "wal_writer_delay=500ms"]);
}

/// Restored as the manual says of a backup: with the label and the map that only the answer has, and the log that was
/// archived since; and as after a crash: without any of them.
#[test]
fn a_snapshot_is_rolled_forward_with_its_label_and_tablespace_map() {
    let test = "a_snapshot_is_rolled_forward_with_its_label_and_tablespace_map";
    let Some(volume) = Volume::make(test) else { return };
    let Some(()) = postgres::fresh(test, &volume.data().join("pg")) else { return };
    let (space, archive) = (volume.data().join("space"), volume.data().join("archive"));
    for folder in [&space, &archive] {
        succeed(Command::new("install").args(["-d", "-o", "postgres", "-m", "700"]).arg(folder), "");
    }
    let archiving = format!("archive_command=cp %p {}/%f", archive.display());
    let server = Postgres::on(&volume.data().join("pg"), &["archive_mode=on", &archiving]);
    server.sql(&format!("CREATE TABLESPACE elsewhere LOCATION '{}';", space.display()));
    server.make_table();
    server.sql("ALTER TABLE writes SET TABLESPACE elsewhere;");
    let site = Site::with(&configuration(&server, ""));
    let told = site.json(&["check"]).findings();
    assert!(told.iter().any(|f| f.contains("tablespace elsewhere") && f.contains("/space")), "{told:?}");
    let writers = server.writers(2);
    writers.get_on(20);
    site.freeze();
    let frozen = Instant::now();
    let (rolled, crashed) = (volume.snapshot("rolled"), volume.snapshot("crashed"));
    let cut = Instant::now();
    writers.get_on(20);
    let said = site.json(&["thaw"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let thawed = Instant::now();
    writers.get_on(20);
    let log = writers.stop();
    let closed = server.sql("SELECT pg_walfile_name(pg_switch_wal());");
    let archived = format!("SELECT last_archived_wal >= '{}' FROM pg_stat_archiver;", closed.trim());
    wait_until("the log is archived", || server.sql(&archived) == "t\n");
    drop(server);

    let (label, map) = (said.kept("backup_label"), said.kept("tablespace_map"));
    assert!(map.contains("/space"), "{map}");
    let map = map.replace(space.to_str().unwrap(), rolled.join("space").to_str().unwrap());
    let pg = rolled.join("pg");
    for (name, text) in [("backup_label", label.as_str()), ("tablespace_map", &map), ("recovery.signal", "")] {
        std::fs::write(pg.join(name), text).unwrap();
        succeed(Command::new("chown").arg("postgres:").arg(pg.join(name)), "");
    }
    let restoring = format!("restore_command=cp {}/%f %p", archive.display());
    let copy = Postgres::on(&pg, &[&restoring]);
    wait_until("it is rolled forward", || copy.sql("SELECT pg_is_in_recovery();") == "f\n");
    let all = copy.rows();
    let lost = log.commits.iter().find(|c| c.acknowledged.is_some() && !all.contains(&(c.writer, c.sequence)));
    assert_eq!(lost, None, "all was archived, also what came after the snapshot");
    assert!(log.commits.iter().any(|c| c.begun > thawed && c.acknowledged.is_some()), "nothing came after it");
    drop(copy);

    // The links of the other copy point to where its tablespace lies now.
    let link = std::fs::read_dir(crashed.join("pg/pg_tblspc")).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(crashed.join("space"), &link).unwrap();
    let copy = Postgres::on(&crashed.join("pg"), &[]);
    assert_recovered("the snapshot", &log, frozen, cut, &copy.rows());
}

#[test]
fn a_standby_is_frozen_as_a_standby() {
    let test = "a_standby_is_frozen_as_a_standby";
    let Some(primary) = Postgres::private(test, &[]) else { return };
    primary.make_table();
    let standby = Postgres::standby(&primary);
    let site = Site::with(&configuration(&standby, ""));
    let told = site.json(&["check"]).findings();
    assert!(told.iter().any(|f| f.starts_with("note: this is a standby")), "{told:?}");
    let said = site.json(&["run", "--", "true"]);
    said.assert_recoverable();
    assert_eq!(said.json["workloads"][0]["point"].as_array().unwrap().len(), 4, "{}", said.text);
    drop(standby);
}

#[test]
fn the_least_login_suffices_and_what_differs_from_it_is_told() {
    let test = "the_least_login_suffices_and_what_differs_from_it_is_told";
    if !can_be_somebody_else(test) {
        return;
    }
    let Some(server) = Postgres::private(test, &["archive_mode=on", "archive_command=true"]) else { return };
    server.make_table();
    let site = Site::with(&least(&server, ""));
    let printed = site.call(&["privileges", "postgres"]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    // As it was printed, by the administrator.
    server.sql(&printed.stdout);
    let said = site.json(&["check"]);
    assert_eq!((said.code, said.findings()), (Some(0), Vec::new()), "{}", said.text);
    let said = site.json(&["run", "--", "true"]);
    said.assert_recoverable();

    server.sql("GRANT INSERT ON writes TO nobody; GRANT pg_read_all_data TO nobody; ALTER ROLE nobody CREATEDB;");
    let told = site.json(&["check"]).findings();
    let [excess] = told.try_into().unwrap_or_else(|f| panic!("{f:?}"));
    for words in ["note: ", "INSERT ON public.writes", "pg_read_all_data", "CREATEDB", "stillpoint privileges postgres"]
    {
        assert!(excess.contains(words), "{words}: {excess}");
    }
    server.sql(
        "REVOKE INSERT ON writes FROM nobody; REVOKE pg_read_all_data, pg_read_all_stats FROM nobody; \
         ALTER ROLE nobody NOCREATEDB;",
    );
    let told = site.json(&["check"]).findings();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("warning: the login lacks the privilege pg_read_all_stats"), "{told:?}");

    for (without, with, named) in [
        (
            "REVOKE EXECUTE ON FUNCTION pg_backup_start(text, boolean) FROM nobody;",
            "GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean) TO nobody;",
            "EXECUTE ON pg_backup_start",
        ),
        (
            "REVOKE pg_read_all_settings FROM nobody;",
            "GRANT pg_read_all_settings TO nobody;",
            "the login lacks the privilege pg_read_all_settings",
        ),
    ] {
        server.sql(without);
        let said = site.json(&["check"]);
        assert_eq!(said.code, Some(4), "{}", said.text);
        // Without the one it cannot say where its data lies either.
        let faults = said.faults();
        assert!(faults[0] == "SP-DB-011" && faults[1..].iter().all(|f| f == "SP-DB-016"), "{}", said.text);
        assert!(said.text.contains(named) && said.text.contains("stillpoint privileges"), "{}", said.text);
        server.sql(with);
    }
}

/// libpq reads it from the sealed descriptor, and from nowhere else.
#[test]
fn a_password_is_seen_nowhere() {
    const SECRET: &str = r"hunter2:\4711 'x";
    let test = "a_password_is_seen_nowhere";
    if !can_be_somebody_else(test) {
        return;
    }
    let folder = folder::with_mode(0o755);
    let hba = folder.path().join("hba");
    std::fs::write(&hba, "local all postgres peer\nlocal all all scram-sha-256\n").unwrap();
    let Some(server) = Postgres::private(test, &[&format!("hba_file={}", hba.display())]) else { return };
    let site = Site::with(&least(&server, "").replace("-u nobody", "-u backup"));
    server.sql(&site.call(&["privileges", "postgres"]).stdout);
    server.sql(&format!("ALTER ROLE backup PASSWORD '{}';", SECRET.replace('\'', "''")));
    let said = site.json(&["check"]);
    assert_eq!(said.faults(), ["SP-DB-001"], "no password: {}", said.text);
    let login = format!("-u backup \"-phunter2:\\\\4711 'x\" -S {}", server.socket().display());
    let credential = site.credential(&login);
    site.configure(&format!(
        "[workload]\nworkload_name = postgres\nlinux_user = nobody\ncredential_file = {}\ntimeout = 60\n",
        credential.display()
    ));
    let frozen = site.freeze();
    let clients = processes::with_words(&["passfile='/proc/self/fd/", "user='backup'"]);
    assert!(clients.len() >= 2, "the clients run with their credential");
    processes::show_nowhere("hunter2:");
    let said = site.json(&["thaw"]);
    said.assert_recoverable();
    assert!(!frozen.text.contains("hunter2") && !said.text.contains("hunter2"));
}

#[test]
fn the_keeper_is_killed() {
    let test = "the_keeper_is_killed";
    let Some(server) = Postgres::private(test, &[]) else { return };
    server.make_table();
    let site = Site::with(&configuration(&server, ""));
    let writers = server.writers(2);
    site.freeze();
    assert_eq!(server.in_backup().len(), 3, "one session holds, one watches, and the guard has one");
    site.kill_keeper();
    wait_until("the backup mode has ended with its session", || server.in_backup().is_empty());
    site.wait_for_the_guard();
    assert_eq!(site.json(&["thaw"]).code, Some(5));
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    writers.get_on(10);
}

/// No undo is answered, so the sessions are ended through a new one.
#[test]
fn clients_that_hang_keep_nothing_held() {
    let test = "clients_that_hang_keep_nothing_held";
    let Some(server) = Postgres::private(test, &[]) else { return };
    let site = Site::with(&configuration(&server, ""));
    site.freeze();
    let clients = processes::with_words(&[&format!("host='{}'", server.socket().display())]);
    assert_eq!(clients.len(), 3);
    clients.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    wait_until("nothing of ours runs", || server.in_backup().is_empty());
    assert_eq!(site.json(&["status"]).code, Some(0));
}

/// The keeper dies while `pg_backup_start` waits: the server does not see that its client is gone.
#[test]
fn a_backup_that_is_waited_for_does_not_outlive_recovery() {
    let test = "a_backup_that_is_waited_for_does_not_outlive_recovery";
    let Some(server) = Postgres::private(test, &[]) else { return };
    let site = Site::with(&configuration(&server, ""));
    let checkpointer = stop_the_checkpointer(&server);
    let running = site.start(&["freeze"]);
    wait_until("the backup waits for its checkpoint", || backs_up(&server));
    site.kill_keeper();
    // The command that waited for it recovers by itself.
    let said = Said::of(running.end());
    // A server needs a moment to end a session; by itself it would end this one later.
    let ended = soon(Duration::from_secs(2), || server.in_backup().is_empty());
    kill(checkpointer, Signal::SIGCONT).unwrap();
    said.assert_fault(5, "SP-CYCLE-011");
    assert!(ended, "the server goes on for nobody: {}", said.text);
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
}

/// The checkpoint does not come, so the server gives up before the host does, and nothing is left.
#[test]
fn a_checkpoint_that_does_not_end_costs_nobody_anything() {
    let test = "a_checkpoint_that_does_not_end_costs_nobody_anything";
    let Some(server) = Postgres::private(test, &[]) else { return };
    server.make_table();
    let site = Site::with(&server.configuration("timeout = 5\n"));
    let writers = server.writers(2);
    let checkpointer = stop_the_checkpointer(&server);
    let said = site.json(&["freeze"]);
    kill(checkpointer, Signal::SIGCONT).unwrap();
    assert!(!said.faults().contains(&"SP-CYCLE-006".to_owned()), "its session was ended: {}", said.text);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("57014") && said.text.contains("checkpoint that a backup begins with"), "{}", said.text);
    wait_until("nothing of ours runs", || server.in_backup().is_empty());
    writers.get_on(10);
    assert!(writers.stop().longest_gap() < Duration::from_secs(2), "a writer waited");
}

fn backs_up(server: &Postgres) -> bool {
    !server
        .sql("SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_backup_start%';")
        .is_empty()
}

fn stop_the_checkpointer(server: &Postgres) -> nix::unistd::Pid {
    let pid = server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer';");
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    pid
}

#[test]
fn a_session_that_somebody_ended_is_not_called_consistent() {
    let test = "a_session_that_somebody_ended_is_not_called_consistent";
    let Some(server) = Postgres::private(test, &["idle_session_timeout=4s"]) else { return };
    let site = Site::with(&configuration(&server, ""));
    site.freeze();
    // The server's own bound on idle sessions does not end ours.
    let frozen = Instant::now();
    wait_until("the time has passed", || frozen.elapsed() > Duration::from_secs(6));
    let said = site.json(&["thaw"]);
    said.assert_recoverable();
    site.freeze();
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stillpoint';";
    assert_eq!(server.sql(ended), "t\nt\nt\n");
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
}

#[test]
fn check_tells_what_an_administrator_must_know() {
    let test = "check_tells_what_an_administrator_must_know";
    let settings = ["archive_mode=on", "archive_command=false", "full_page_writes=off", "synchronous_commit=off"];
    let Some(server) = Postgres::private(test, &settings) else { return };
    let site = Site::with(&configuration(&server, ""));
    server.sql("SELECT pg_switch_wal();");
    let failed = "SELECT 1 FROM pg_stat_archiver WHERE failed_count > 0;";
    wait_until("the archiver fails", || !server.sql(failed).is_empty());
    let told = site.json(&["check"]).findings().join("\n");
    for words in [
        "note: full_page_writes = off",
        "note: synchronous_commit = off",
        "warning: the archiver fails: 00000001",
        "SUPERUSER",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    drop(server);
    let refused: [(&str, &[&str]); 2] =
        [("fsync = off", &["fsync=off"]), ("wal_level = minimal", &["wal_level=minimal", "max_wal_senders=0"])];
    for (words, settings) in refused {
        let Some(server) = Postgres::private(test, settings) else { return };
        site.configure(&configuration(&server, ""));
        for command in [&["check"][..], &["run", "--", "true"]] {
            let said = site.json(command);
            assert_eq!(said.code, Some(4), "{}", said.text);
            assert!(said.text.contains(words), "{}", said.text);
        }
    }
}

/// The server itself refuses what a manifest calls something else.
#[test]
fn what_a_manifest_calls_something_else_the_server_refuses() {
    let test = "what_a_manifest_calls_something_else_the_server_refuses";
    let Some(server) = Postgres::private(test, &[]) else { return };
    server.make_table();
    let module = Unsigned::of("postgres");
    let site = Site::with(&configuration(&server, &module.line()));
    for write in ["INSERT INTO public.writes VALUES (99, 99)", "CREATE ROLE door SUPERUSER", "DROP TABLE public.writes"]
    {
        module.lie(&[("\"SET idle_session_timeout = 0\"", &format!("\"{write}\""))]);
        let said = site.json(&["--allow-unsigned", "run", "--", "true"]);
        assert_eq!(said.code, Some(4), "{write}: {}", said.text);
        assert!(said.text.contains("read-only transaction"), "{write}: {}", said.text);
    }
    assert_eq!(server.sql("SELECT count(*) FROM writes;"), "0\n");
}
