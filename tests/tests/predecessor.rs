//! Sixteen defects of the system that this one replaces, each as a test that would have found it. A test is named for its
//! defect; docs/coming-from-azure.md tells what each was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, User};
use stillpoint_tests::fake::{FakeServer, Misbehaviour};
use stillpoint_tests::folder;
use stillpoint_tests::loop_mount::{Kind, LoopMount};
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::missing::can_be_somebody_else;
use stillpoint_tests::postgres::Postgres;
use stillpoint_tests::processes::{self, clients};
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::wait_until;

/// The longest that anything here may take that is bounded at all: no bound of ours is above it, and a hang is.
const BOUNDED: Duration = Duration::from_secs(30);

fn mariadb(server: &MariaDb, module: &str, more: &str) -> String {
    let socket = server.socket();
    format!("[workload]\nworkload_name = {module}\ncredString = -u root -S {}\n{more}", socket.display())
}

fn assert_nothing_stays_frozen(site: &Site) {
    site.wait_for_the_guard();
    site.assert_nothing_is_frozen();
}

/// A script in the place of a client, in a folder for `command_path`.
fn script(folder: &Path, client: &str, text: &str) -> String {
    let file = folder.join(client);
    std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
    format!("command_path = {}\n", folder.display())
}

fn is_read_only(server: &MariaDb) -> bool {
    server.sql("SELECT @@GLOBAL.read_only;").trim() == "1"
}

/// The timeout, or the death of whoever held the lock, left the server read-only for good.
#[test]
fn a01_a_server_is_writable_again_whoever_dies() {
    let test = "a01_a_server_is_writable_again_whoever_dies";
    let Some(server) = MariaDb::private(test, &[]) else { return };
    server.make_table();
    let writers = server.writers(1);
    // The second sets `read_only`, as the predecessor did.
    for module in ["mariadb", "read-only"] {
        let site = Site::with(&mariadb(&server, module, "timeout = 60\n"));
        site.install_guest("read-only");
        let deaths: [fn(&Site); 2] =
            [Site::kill_keeper, |site| clients(site).iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap())];
        for die in deaths {
            site.freeze();
            die(&site);
            let said = site.json(&["thaw"]);
            assert_eq!(said.code, Some(5), "{}", said.text);
            assert_nothing_stays_frozen(&site);
            assert!(!is_read_only(&server), "{module}: {}", said.text);
        }
        site.configure(&mariadb(&server, module, "timeout = 6\n"));
        site.freeze();
        wait_until("the time is up", || site.json(&["status"]).json["under_way"].is_null());
        let said = site.json(&["thaw"]);
        assert_eq!((said.code, &said.json["released_by"]), (Some(5), &"the timeout".into()), "{}", said.text);
        assert!(!is_read_only(&server), "{module}: {}", said.text);
        writers.get_on(5);
    }
}

/// Every thaw of a replica stopped and started its replication, and set `read_only = OFF`, whatever it had been.
#[test]
fn a02_a_replica_stays_what_it_was() {
    let test = "a02_a_replica_stays_what_it_was";
    let Some((primary, port)) = MariaDb::primary(test) else { return };
    let Some(replica) = MariaDb::replica(test, port, &[]) else { return };
    primary.make_table();
    let writers = primary.writers(1);
    for (module, read_only) in [("mariadb", true), ("mariadb", false), ("read-only", true), ("read-only", false)] {
        replica.sql(&format!("SET GLOBAL read_only = {};", u8::from(read_only)));
        let site = Site::with(&mariadb(&replica, module, "role = slave\nenforceSlaveOnly = 1\ntimeout = 60\n"));
        site.install_guest("read-only");
        if module != "mariadb" {
            // It is no module for replicas, and says nothing of them.
            site.configure(&mariadb(&replica, module, "timeout = 60\n"));
        }
        let said = site.json(&["run", "--", "true"]);
        assert_eq!((said.code, &said.json["kind"]), (Some(0), &"still".into()), "{module}: {}", said.text);
        assert_eq!(is_read_only(&replica), read_only, "{module}: {}", said.text);
        site.freeze();
        site.kill_keeper();
        assert_eq!(site.json(&["thaw"]).code, Some(5));
        assert_nothing_stays_frozen(&site);
        assert_eq!(is_read_only(&replica), read_only, "{module}");
        assert!(replica.follows(), "{module}");
    }
    writers.get_on(5);
    let rows = "SELECT COUNT(*) FROM app.writes;";
    assert!(writers.stop().errors.is_empty());
    wait_until("the replica has all of it", || replica.sql(rows) == primary.sql(rows));
}

/// `credString` was an argument of a shell, for the whole freeze, and stood in the log.
#[test]
fn a03_a_password_in_the_configuration_is_seen_nowhere() {
    const SECRET: &str = "hunter2-a03";
    let test = "a03_a_password_in_the_configuration_is_seen_nowhere";
    let Some(server) = MariaDb::private(test, &[]) else { return };
    server
        .sql(&format!("CREATE USER backup@localhost IDENTIFIED BY '{SECRET}'; GRANT ALL ON *.* TO backup@localhost;"));
    let ipc = tempfile::tempdir().unwrap();
    let more = format!("ipc_folder = {}\n", ipc.path().display());
    let site = Site::with(&mariadb(&server, "mariadb", &more).replace("-u root", &format!("-u backup -p{SECRET}")));
    let mut all = vec![site.json(&["check"]), site.freeze()];
    processes::show_nowhere(SECRET);
    all.extend([site.json(&["status"]), site.json(&["thaw"])]);
    assert!(all.iter().all(|said| said.code == Some(0)), "{all:?}");
    // What goes wrong is told without it, too.
    server.sql("ALTER USER backup@localhost IDENTIFIED BY 'another';");
    all.extend([site.json(&["check"]), site.json(&["run", "--", "true"])]);
    for said in &all {
        assert!(!said.text.contains(SECRET), "{}", said.text);
    }
    for command in [&["check"][..], &["status"], &["record", "show"]] {
        let ended = site.call(command);
        assert!(!ended.text().contains(SECRET), "{command:?}");
    }
    std::fs::remove_file(site.configuration()).unwrap();
    for folder in [site.path(""), ipc.path().to_owned()] {
        assert_eq!(folder::files_with(SECRET, &folder), Vec::<PathBuf>::new());
    }
}

/// It called functions that PostgreSQL 15 no longer has, looked at no answer, and reported success.
#[test]
fn a04_postgres_is_in_backup_mode_or_nothing_is_claimed() {
    let test = "a04_postgres_is_in_backup_mode_or_nothing_is_claimed";
    if !can_be_somebody_else(test) {
        return;
    }
    let Some(server) = Postgres::private(test, &[]) else { return };
    server.make_table();
    let site = Site::with(&server.configuration("timeout = 60\n"));
    site.freeze();
    // Nothing but a session that is in backup mode can end it: what it is told then ends up in the verdict.
    let said = site.json(&["thaw"]);
    said.assert_recoverable();
    let entries = std::fs::read_to_string(site.chain(&said)).unwrap();
    let sent = |name: &str| {
        entries.lines().any(|l| l.contains(&format!("\"name\":\"{name}\"")) && l.contains("\"outcome\":{\"rows\":1}"))
    };
    assert!(sent("backup_start") && sent("backup_stop"), "{entries}");

    // The function is not there for this login, so it fails: that is no snapshot.
    let least = server
        .configuration("timeout = 60\n")
        .replace("postgres\ncred", "nobody\ncred")
        .replace("-u postgres", "-u nobody");
    site.configure(&least);
    server.sql(&site.call(&["privileges", "postgres"]).stdout);
    assert_eq!(site.json(&["run", "--", "true"]).code, Some(0), "the least login suffices");
    server.sql("REVOKE EXECUTE ON FUNCTION pg_backup_start(text, boolean) FROM nobody;");
    let ran = site.path("ran");
    let said = site.json(&["run", "--", "touch", ran.to_str().unwrap()]);
    said.assert_failed();
    assert!(!ran.exists(), "the snapshot was taken all the same");
    assert_nothing_stays_frozen(&site);
}

/// "At most ten seconds" were followed by a read without a bound: a client that hangs hung the agent.
#[test]
fn a05_a_client_that_hangs_does_not_hang_the_agent() {
    let test = "a05_a_client_that_hangs_does_not_hang_the_agent";
    if !can_be_somebody_else(test) {
        return;
    }
    let Some(server) = Postgres::private(test, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    for hangs in ["exec sleep 3605", "echo psql: waiting; exec sleep 3605", "sleep 3605 & echo; wait"] {
        let more = script(folder.path(), "psql", hangs);
        let site = Site::with(&server.configuration(&format!("timeout = 2\n{more}")));
        let began = Instant::now();
        let said = site.json(&["run", "--", "true"]);
        assert_eq!((said.code, said.faults().is_empty()), (Some(4), false), "{hangs}: {}", said.text);
        assert!(began.elapsed() < BOUNDED, "{hangs}: it took {:?}", began.elapsed());
        wait_until("the client is gone", || processes::all().iter().all(|p| p.words != "sleep\x003605\0"));
        assert_nothing_stays_frozen(&site);
    }
    // The same once it stands still.
    let site = Site::with(&server.configuration("timeout = 60\n"));
    site.freeze();
    clients(&site).iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
    let began = Instant::now();
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    assert!(began.elapsed() < BOUNDED, "it took {:?}", began.elapsed());
    assert_nothing_stays_frozen(&site);
}

/// The thaw was started, not waited for, and reported as done.
#[test]
fn a06_a_thaw_that_fails_is_told() {
    let server = FakeServer::private();
    let site = server.site("fake-server", 60);
    site.freeze();
    server.misbehave(false, Misbehaviour::Fail, "SET READONLY 0");
    let thaw = site.start(&["thaw"]);
    wait_until("it is tried again", || server.times_received("SET READONLY 0") > 2);
    assert!(server.readonly());
    server.behave();
    // Not before it is done, and not without a word.
    let said = Said::of(thaw.end());
    assert!(!server.readonly(), "{}", said.text);
    let failed = said.json["workloads"][0]["faults"].as_array().unwrap();
    assert!(failed.iter().any(|f| f["id"] == "SP-CYCLE-006" && f["azure"] == 504), "{}", said.text);
    assert_nothing_stays_frozen(&site);

    let Some(mut real) = MariaDb::private("a06_a_thaw_that_fails_is_told", &[]) else { return };
    let site = Site::with(&mariadb(&real, "mariadb", "timeout = 60\n"));
    site.freeze();
    real.kill();
    let said = site.json(&["thaw"]);
    assert_eq!((said.code, &said.json["workloads"][0]["azure"]), (Some(5), &510.into()), "{}", said.text);
}

/// Its kill met the shell round the client; the client lived on, with the lock.
#[test]
fn a07_the_client_behind_a_script_is_ended_too() {
    let test = "a07_the_client_behind_a_script_is_ended_too";
    let Some(server) = MariaDb::private(test, &[]) else { return };
    server.make_table();
    let folder = tempfile::tempdir().unwrap();
    let more = script(folder.path(), "mariadb", "/usr/bin/mariadb \"$@\"\nexit $?");
    let site = Site::with(&mariadb(&server, "mariadb", &format!("timeout = 60\n{more}")));
    let writers = server.writers(1);
    site.freeze();
    let shells = clients(&site);
    let real: Vec<Pid> = shells.iter().flat_map(|pid| processes::children(*pid)).collect();
    assert!(!real.is_empty() && real.iter().all(|pid| processes::name(*pid) == "mariadb"), "{shells:?} {real:?}");
    // They answer nothing, so they can only be killed.
    shells.iter().for_each(|pid| killpg(*pid, Signal::SIGSTOP).unwrap());
    let said = site.json(&["thaw"]);
    assert_eq!(said.code, Some(5), "{}", said.text);
    writers.get_on(5);
    wait_until("script and client are gone", || shells.iter().chain(&real).all(|pid| processes::name(*pid).is_empty()));
    let ours =
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'BACKUP%' OR state LIKE '%backup%';";
    assert_eq!(server.sql(ours).trim(), "0");
    assert_nothing_stays_frozen(&site);
}

/// Where the first half of a freeze succeeded and the second failed, nobody thawed the first.
#[test]
fn a08_half_a_freeze_is_taken_back() {
    let test = "a08_half_a_freeze_is_taken_back";
    let Some(server) = MariaDb::private(test, &[]) else { return };
    server.make_table();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let site = Site::with(&format!(
        "{}[workload second]\nworkload_name = sqlite\ndbnames = {}\norder = 1\nstall_budget = 2\n",
        mariadb(&server, "mariadb", "timeout = 60\n"),
        file.display()
    ));
    let writers = server.writers(1);
    let ran = site.path("ran");
    let run = || site.json(&["run", "--", "touch", ran.to_str().unwrap()]);
    {
        let _lock = sqlite::lock(&file);
        let said = run();
        said.assert_failed();
        assert!(said.json["workloads"][0]["phases"]["freeze_us"].as_u64() > Some(0), "the first froze: {}", said.text);
        assert!(!ran.exists(), "the snapshot was taken all the same");
        writers.get_on(5);
        assert_nothing_stays_frozen(&site);
    }
    assert_eq!(run().code, Some(0));
    assert!(writers.stop().errors.is_empty());
}

/// The end of a backup that nobody waited for could be sent to another instance. (Its own shape, an environment that a
/// login shell resets, is a test of the module for Oracle.)
#[test]
fn a09_an_undo_reaches_the_server_that_was_frozen() {
    let [ours, other, foreign] = [(); 3].map(|()| FakeServer::private());
    foreign.sql("BEGIN BACKUP");
    let both = [(&ours, "fake-disk-a"), (&other, "fake-disk-b")].map(|(server, name)| server.configuration(name, 60));
    let site = Site::with(&both.concat());
    site.install_guest("fake");
    site.freeze();
    assert!(ours.backup() && other.backup());
    site.kill_keeper();
    assert_eq!(site.json(&["thaw"]).code, Some(5));
    assert_nothing_stays_frozen(&site);
    assert!(!ours.backup() && !other.backup() && foreign.backup());
    assert_eq!([&ours, &other, &foreign].map(|s| s.times_received("END BACKUP")), [1, 1, 0]);
}

/// "Nothing was in backup mode" was taken for "this database keeps no archive", and for success.
#[test]
fn a10_a_backup_that_somebody_ended_is_told_as_that() {
    let server = FakeServer::private();
    let site = server.site("fake-disk", 60);
    site.freeze();
    server.sql("END BACKUP");
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    assert!(said.reason().contains("did not hold to the end"), "{}", said.text);
    assert_eq!(said.json["workloads"][0]["azure"], 510, "{}", said.text);
    assert_nothing_stays_frozen(&site);
}

/// Whatever else went wrong, one error was reported.
#[test]
fn a11_every_error_is_reported() {
    let site =
        Site::with("[workload a]\nworkload_name = sqlite\ntimeout = x\nrole = boss\nnonsense = 1\n[workload b]\n");
    let said = site.json(&["check"]);
    let mut ids = said.faults();
    ids.sort();
    assert_eq!(ids, ["SP-CFG-003", "SP-CFG-005", "SP-CFG-005", "SP-CFG-006"], "{}", said.text);

    let folder = tempfile::tempdir().unwrap();
    let files = ["a.db", "b.db"].map(|name| folder.path().join(name));
    let section = |name: &str, file: &Path| {
        format!("[workload {name}]\nworkload_name = sqlite\ndbnames = {}\nstall_budget = 1\n", file.display())
    };
    site.configure(&format!("{}{}", section("a", &files[0]), section("b", &files[1])));
    // Neither is there. In the freeze itself the first that fails lets all others go, and those say so.
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    let workloads = said.json["workloads"].as_array().unwrap();
    assert!(workloads.iter().all(|w| w["faults"].as_array().is_some_and(|f| !f.is_empty())), "{}", said.text);
}

/// There was one workload, and one Linux user, on a machine.
#[test]
fn a12_several_workloads_each_with_its_own_user() {
    let test = "a12_several_workloads_each_with_its_own_user";
    if !can_be_somebody_else(test) {
        return;
    }
    let (Some(maria), Some(postgres_)) = (MariaDb::private(test, &[]), Postgres::private(test, &[])) else { return };
    let site = Site::with(&format!(
        "[workload orders]\nworkload_name = mariadb\nlinux_user = nobody\ncredString = -u nobody -S {}\n\
         [workload reports]\nworkload_name = postgres\nlinux_user = postgres\ncredString = -u postgres -S {}\n",
        maria.socket().display(),
        postgres_.socket().display()
    ));
    maria.sql(&site.call(&["privileges", "orders"]).stdout);
    let said = site.freeze();
    assert_eq!(said.json["frozen"]["frozen"].as_array().unwrap().len(), 2, "{}", said.text);
    for (client, user) in [("mariadb", "nobody"), ("psql", "postgres")] {
        let uid = User::from_name(user).unwrap().unwrap().uid.as_raw();
        let ours: Vec<Pid> = clients(&site).into_iter().filter(|pid| processes::name(*pid) == client).collect();
        let owner = |pid: &Pid| std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
        assert!(!ours.is_empty() && ours.iter().all(|pid| owner(pid) == uid), "{client} runs as {user}");
    }
    let said = site.json(&["thaw"]);
    said.assert_consistent();
}

/// A login needed `FILE`, and the server a folder to write into, only to say that it stands still.
#[test]
fn a13_no_file_of_the_servers_says_that_it_stands_still() {
    let test = "a13_no_file_of_the_servers_says_that_it_stands_still";
    if !can_be_somebody_else(test) {
        return;
    }
    let nowhere = tempfile::tempdir().unwrap();
    let option = format!("--secure-file-priv={}", nowhere.path().display());
    let Some(server) = MariaDb::private(test, &[&option]) else { return };
    let site =
        Site::with(&mariadb(&server, "mariadb", "linux_user = nobody\ntimeout = 60\n").replace("-u root", "-u nobody"));
    let printed = site.call(&["privileges", "mariadb"]).stdout;
    assert!(printed.contains("GRANT") && !printed.contains("FILE"), "{printed}");
    server.sql(&printed);
    let said = site.json(&["run", "--", "true"]);
    said.assert_still();
    assert_eq!(std::fs::read_dir(nowhere.path()).unwrap().count(), 0);
}

/// Log backup wrote itself into root's crontab, and made folders that everybody can write to.
#[test]
fn a14_nothing_is_written_into_a_crontab() {
    let test = "a14_nothing_is_written_into_a_crontab";
    let Some(server) = MariaDb::private(test, &["--log-bin=binlog"]) else { return };
    server.make_table();
    let folder = tempfile::tempdir().unwrap();
    let (crontab, logs) = (folder.path().join("crontab"), folder.path().join("logs"));
    std::fs::write(&crontab, "# of root\n").unwrap();
    std::fs::create_dir(&logs).unwrap();
    let roots = Path::new("/var/spool/cron/root");
    let before = std::fs::read(roots).ok();
    let site = Site::with(&format!(
        "{}[logbackup]\nparameterFilePath = /nowhere/init.ora\nbaseLocation = {}/\ncrontabLocation = {}\n",
        mariadb(&server, "mariadb", "timeout = 60\n"),
        logs.display(),
        crontab.display()
    ));
    let check = site.call(&["check"]);
    assert_eq!(check.code, Some(0), "{check:?}");
    for words in ["crontabLocation is not read", "systemctl", "parameterFilePath is not read"] {
        assert!(check.stdout.contains(words), "{check:?}");
    }
    for command in [&["run", "--", "true"][..], &["log-backup"]] {
        let said = site.json(command);
        assert_eq!(said.code, Some(0), "{}", said.text);
    }
    assert_eq!(std::fs::read_to_string(&crontab).unwrap(), "# of root\n");
    assert_eq!(std::fs::read(roots).ok(), before);
    let copies = folder::files(&logs);
    assert!(copies.iter().any(|f| f.display().to_string().contains("binlog.")), "nothing was copied: {copies:?}");
    // The files, and every folder on the way to them.
    let folders = copies.iter().flat_map(|f| f.ancestors()).filter(|f| f.starts_with(&logs));
    for path in folders {
        let mode = path.metadata().unwrap().mode();
        assert_eq!(mode & 0o022, 0, "{} can be written by others", path.display());
    }
}

/// A script that ran out of time was not ended, and a retry waited for the same one again.
#[test]
fn a15_what_is_given_up_is_ended_and_the_next_attempt_is_a_new_one() {
    let test = "a15_what_is_given_up_is_ended_and_the_next_attempt_is_a_new_one";
    let Some(server) = MariaDb::private(test, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let text =
        format!("if [ ! -e {0} ]; then echo $$ > {0}; sleep 3615; fi\nexec /usr/bin/mariadb \"$@\"", started.display());
    let more = script(folder.path(), "mariadb", &text);
    let with = |timeout: u32| mariadb(&server, "mariadb", &format!("timeout = {timeout}\n{more}"));
    let site = Site::with(&with(2));
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.faults().contains(&"SP-DB-002".to_owned()), "{}", said.text);
    let shell = Pid::from_raw(std::fs::read_to_string(&started).unwrap().trim().parse().unwrap());
    wait_until("the script is gone", || processes::name(shell).is_empty());
    wait_until("what it started is gone, too", || processes::all().iter().all(|p| p.words != "sleep\x003615\0"));
    site.configure(&with(60));
    let said = site.json(&["run", "--", "true"]);
    said.assert_still();
}

/// A kill of the program that had frozen the filesystems left them frozen.
#[test]
fn a16_filesystems_run_again_whoever_is_killed() {
    let test = "a16_filesystems_run_again_whoever_is_killed";
    let Some(mount) = LoopMount::make(test, Kind::Ext4) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let site = Site::with(&format!(
        "[workload]\nworkload_name = sqlite\ndbnames = {}\ntimeout = 60\nfilesystems = {}\n",
        file.display(),
        mount.path().display()
    ));
    site.freeze();
    assert!(mount.is_frozen());
    site.kill_keeper();
    mount.gets_on();
    assert_nothing_stays_frozen(&site);
    assert_eq!(site.json(&["thaw"]).code, Some(5));
    site.freeze();
    site.kill_keeper_and_guard();
    assert!(mount.is_frozen(), "nobody is left who could thaw it");
    assert_eq!(site.json(&["recover"]).code, Some(5));
    mount.gets_on();
    assert_nothing_stays_frozen(&site);
}
