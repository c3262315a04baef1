//! Firebird in its backup mode: writers never stop, every copy holds what was acknowledged, and a mode that lasts on disk is
//! ended by whoever is left, but never somebody else's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use stillpoint_tests::comparison::{Row, assert_recovered};
use stillpoint_tests::firebird::{self, Firebird, delta};
use stillpoint_tests::missing::can_be_somebody_else;
use stillpoint_tests::processes;
use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::said::Said;
use stillpoint_tests::site::{Site, recovery_point};
use stillpoint_tests::unsigned::Unsigned;
use stillpoint_tests::volume::Volume;
use stillpoint_tests::writers::Log;
use stillpoint_tests::{dist, wait_until};

fn configuration(server: &Firebird, databases: &[&Path], more: &str) -> String {
    server.configuration(databases, &format!("timeout = 60\n{more}"))
}

/// A server with one database.
fn one(test: &str) -> Option<(Firebird, PathBuf)> {
    let server = Firebird::private(test)?;
    let database = server.folder().join("a.fdb");
    server.make(&database);
    Some((server, database))
}

/// The README's way: the file alone, which stood still.
fn restore(server: &Firebird, database: &Path) -> BTreeSet<Row> {
    let _ = std::fs::remove_file(delta(database));
    server.nbackup("-F", database);
    // Nothing of the old mode is left.
    server.sql(database, "ALTER DATABASE BEGIN BACKUP; ALTER DATABASE END BACKUP;");
    server.rows(database)
}

/// The other way, where the file and what was written beside it were cut at one instant.
fn merge(server: &Firebird, database: &Path) -> BTreeSet<Row> {
    assert_eq!(server.backup_state(database), "1", "the copy holds the backup mode");
    server.sql(database, "ALTER DATABASE END BACKUP;");
    assert!(!delta(database).exists());
    server.rows(database)
}

/// Two databases of one workload, one of which leaves it to the machine when its pages are written.
#[test]
fn two_databases_in_every_kind_of_copy() {
    let test = "two_databases_in_every_kind_of_copy";
    let Some(volume) = Volume::make(test) else { return };
    let Some(server) = Firebird::private(test) else { return };
    let folder = volume.data().join("fb");
    firebird::folder(&folder);
    let databases = [folder.join("forced.fdb"), folder.join("lazy.fdb")];
    databases.iter().for_each(|d| server.make(d));
    server.gfix(&["-write", "async"], &databases[1]);
    let ipc = volume.data().join("ipc");
    std::fs::create_dir(&ipc).unwrap();
    let site = Site::with(&configuration(
        &server,
        &[&databases[0], &databases[1]],
        &format!("ipc_folder = {}\n", ipc.display()),
    ));
    let writers: Vec<_> = databases.iter().map(|d| server.writers(d, 2)).collect();
    writers.iter().for_each(|w| w.get_on(20));
    let asked = Instant::now();
    site.freeze();
    let frozen = Instant::now();
    // Nobody waits while it holds.
    writers.iter().for_each(|w| w.get_on(20));
    let begun = Instant::now();
    let (image, snapshot) = volume.image_and_snapshot();
    let cut = Instant::now();
    // One file after the other, while everybody writes.
    let copied = volume.data().join("copied");
    succeed(Command::new("cp").args(["--archive", "--reflink=never"]).arg(&folder).arg(&copied), "");
    writers.iter().for_each(|w| w.get_on(20));
    let said = site.json(&["thaw"]);
    writers.iter().for_each(|w| w.get_on(20));
    let logs: Vec<Log> = writers.into_iter().map(|w| w.stop()).collect();
    said.assert_recoverable();
    assert_eq!(said.json["workloads"][0]["point"].as_array().unwrap().len(), 6, "{}", said.text);
    eprintln!("longest gaps {:?}", logs.iter().map(Log::longest_gap).collect::<Vec<_>>());
    for (database, log) in databases.iter().zip(&logs) {
        server.wait_for_the_end(database);
        let rows = server.rows(database);
        assert!(log.commits.iter().all(|c| c.acknowledged.is_none() || rows.contains(&(c.writer, c.sequence))));
    }
    drop(server);

    let Some(second) = Firebird::private(test) else { return };
    let inside = |root: &Path, which: usize| root.join("fb").join(databases[which].file_name().unwrap());
    // What was written while it held is in a copy with both files, and in none of one file alone.
    let twin = snapshot.join("fb/twin.fdb");
    succeed(Command::new("cp").arg("--archive").arg(inside(&snapshot, 0)).arg(&twin), "");
    assert_recovered("the file of the snapshot", &logs[0], asked, frozen, &restore(&second, &twin));
    assert_recovered("the snapshot", &logs[0], begun, cut, &merge(&second, &inside(&snapshot, 0)));
    for (which, log) in logs.iter().enumerate() {
        let file = copied.join(databases[which].file_name().unwrap());
        assert!(delta(&file).exists(), "the copy of files holds both");
        assert_recovered("the copy of files", log, asked, frozen, &restore(&second, &file));
    }
    drop(site);
    let volume = volume.replaced_by(image);
    let inside = |which: usize| inside(&volume.data(), which);
    assert_eq!(recovery_point(&volume.data().join("ipc"), "firebird")["cycle"], said.json["cycle"]);
    assert_recovered("the block image", &logs[0], begun, cut, &merge(&second, &inside(0)));
    assert_recovered("the lazy block image", &logs[1], asked, frozen, &restore(&second, &inside(1)));
    drop(second);
}

/// A copy of one file that a server was still writing to: what the backup mode is for.
#[test]
fn a_file_without_what_was_written_beside_it_says_so() {
    let test = "a_file_without_what_was_written_beside_it_says_so";
    let Some((server, database)) = one(test) else { return };
    let site = Site::with(&configuration(&server, &[&database], "snapshot = files\n"));
    let told = site.json(&["check"]).findings();
    assert!(told.iter().any(|f| f.contains("nbackup -F")), "{told:?}");
    let copy = server.folder().join("copy.fdb");
    let copying = ["--archive", database.to_str().unwrap(), copy.to_str().unwrap()];
    let mut command = vec!["run", "--", "cp"];
    command.extend(copying);
    let said = site.json(&command);
    said.assert_recoverable();
    let refused = server.try_sql(&copy, "SELECT 1 FROM writes;");
    assert!(refused.stderr.contains("copy.fdb.delta"), "{refused:?}");
    server.nbackup("-F", &copy);
    assert_eq!(server.rows(&copy).len(), 0);
}

/// The database is lost, and comes back by the commands that are printed.
#[test]
fn the_printed_commands_bring_it_back() {
    let test = "the_printed_commands_bring_it_back";
    let Some(volume) = Volume::make(test) else { return };
    let Some(server) = Firebird::private(test) else { return };
    firebird::folder(&volume.data().join("fb"));
    let database = volume.data().join("fb/a $b.fdb");
    server.make(&database);
    let site = Site::with(&configuration(&server, &[&database], ""));
    let writers = server.writers(&database, 2);
    writers.get_on(20);
    let asked = Instant::now();
    site.freeze();
    let frozen = Instant::now();
    writers.get_on(20);
    let snapshot = volume.snapshot("snapshot");
    assert_eq!(site.json(&["thaw"]).code, Some(0));
    writers.get_on(20);
    let log = writers.stop();
    // As the other machine sees the disks of the first.
    let mounted = tempfile::tempdir().unwrap();
    let _shown = volume.show_below(mounted.path(), &snapshot);
    let scratch = server.folder().join("scratch");
    let printed = |route: &str| {
        let (from, to) = (mounted.path().display().to_string(), scratch.display().to_string());
        let mut words = vec!["recovery", "--route", route, "--snapshot", &from];
        if route == "scratch" {
            words.extend(["--folder", &to]);
        }
        let said = site.call(&words);
        assert_eq!(said.code, Some(0), "{said:?}");
        succeed(Command::new("sh").arg("-s"), &said.stdout);
    };
    printed("scratch");
    let copy = scratch.join(database.strip_prefix("/").unwrap());
    assert_recovered("the scratch copy", &log, asked, frozen, &server.rows(&copy));
    drop(server);
    std::fs::remove_file(&database).unwrap();
    printed("attached-disks");
    let Some(server) = Firebird::private(test) else { return };
    assert_recovered("the restored database", &log, asked, frozen, &server.rows(&database));
    // A machine that was made from the snapshot has both files.
    std::fs::remove_dir_all(volume.data().join("fb")).unwrap();
    succeed(Command::new("cp").arg("-a").arg(snapshot.join("fb")).arg(volume.data()), "");
    drop(server);
    assert!(delta(&database).exists());
    printed("new-machine");
    let Some(server) = Firebird::private(test) else { return };
    assert_recovered("the new machine", &log, asked, frozen, &server.rows(&database));
    drop(server);
}

#[test]
fn the_keeper_is_killed() {
    let test = "the_keeper_is_killed";
    let Some((server, database)) = one(test) else { return };
    let site = Site::with(&configuration(&server, &[&database], ""));
    let writers = server.writers(&database, 2);
    site.freeze();
    assert_eq!(server.backup_state(&database), "1");
    site.kill_keeper();
    wait_until("the guard ends the backup mode", || server.backup_state(&database) == "0");
    site.wait_for_the_guard();
    assert_eq!(site.json(&["thaw"]).code, Some(5));
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    writers.get_on(10);
    assert_eq!(writers.stop().errors, [""; 0]);
}

/// Keeper and guard are gone, and so is the server: the mode is on disk.
#[test]
fn a_crash_of_everything_is_recovered_from() {
    let test = "a_crash_of_everything_is_recovered_from";
    let Some((mut server, database)) = one(test) else { return };
    let site = Site::with(&configuration(&server, &[&database], ""));
    site.freeze();
    server.sql(&database, "INSERT INTO writes VALUES (1, 1);");
    server.crash();
    site.kill_keeper_and_guard();
    let said = site.json(&["recover"]);
    assert_eq!(said.code, Some(6), "without its server: {}", said.text);
    assert!(said.text.contains("ALTER DATABASE END BACKUP"), "{}", said.text);
    let server = server.start_again();
    assert_eq!(server.backup_state(&database), "1", "it outlasts the server");
    let said = site.json(&["recover"]);
    said.assert_fault(5, "SP-CYCLE-011");
    assert_eq!(server.backup_state(&database), "0");
    assert_eq!(server.rows(&database).len(), 1);
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
}

/// The machine that starts from the snapshot has the backup mode, and the ledger that says whose it is.
#[test]
fn a_restored_machine_recovers() {
    let test = "a_restored_machine_recovers";
    let Some(volume) = Volume::make(test) else { return };
    let alias = |volume: &Volume| format!("orders = {}\n", volume.data().join("fb/orders.fdb").display());
    firebird::folder(&volume.data().join("fb"));
    let Some(server) = Firebird::with_aliases(test, None, &alias(&volume)) else { return };
    server.make(&volume.data().join("fb/orders.fdb"));
    let orders = Path::new("orders");
    // What the machine knows is in the snapshot, too.
    let site = Site::under(&volume.data());
    site.configure(&configuration(&server, &[orders], ""));
    let writers = server.writers(orders, 2);
    writers.get_on(20);
    site.freeze();
    writers.get_on(20);
    let begun = Instant::now();
    let image = volume.block_image();
    let cut = Instant::now();
    writers.get_on(20);
    let said = site.json(&["thaw"]);
    said.assert_recoverable();
    let log = writers.stop();
    let port = server.port();
    let (before, state) = (volume.data(), site.path(""));
    drop((server, site));

    let volume = volume.replaced_by(image);
    // A machine that starts from it has everything at the same place.
    let parent = before.parent().unwrap().to_owned();
    std::fs::create_dir_all(&parent).unwrap();
    std::os::unix::fs::symlink(volume.data(), &before).unwrap();
    let Some(server) = Firebird::with_aliases(test, Some(port), &alias(&volume)) else { return };
    assert_eq!(server.backup_state(orders), "1");
    let mut recover = Command::new(dist::program("stillpoint"));
    recover.arg("--state-dir").arg(state).args(["--output", "json", "recover"]);
    let said = Said::of(run(&mut recover, ""));
    std::fs::remove_dir_all(parent.parent().unwrap()).unwrap();
    said.assert_fault(5, "SP-CYCLE-011");
    server.wait_for_the_end(orders);
    assert_recovered("the restored machine", &log, begun, cut, &server.rows(orders));
    drop(server);
}

#[test]
fn a_backup_mode_of_somebody_else_is_left_alone() {
    let test = "a_backup_mode_of_somebody_else_is_left_alone";
    let Some((server, database)) = one(test) else { return };
    let other = server.folder().join("b.fdb");
    server.make(&other);
    server.nbackup("-L", &other);
    let site = Site::with(&configuration(&server, &[&database, &other], ""));
    for command in [&["check"][..], &["run", "--", "true"]] {
        let said = site.json(command);
        said.assert_fault(4, "SP-DB-010");
        assert!(said.text.contains("b.fdb is in backup mode already"), "{}", said.text);
        assert_eq!((server.backup_state(&database), server.backup_state(&other)), ("0".into(), "1".into()));
    }
    // One that is begun after everybody has looked: as a module meets it that sees none.
    let blind = Unsigned::of("firebird");
    blind.lie(&[
        ("text    = \"SELECT MON$BACKUP_STATE FROM", "text    = \"SELECT 0 * MON$BACKUP_STATE FROM"),
        ("text    = \"SELECT COUNT(*) FROM RDB$FILES", "text    = \"SELECT 0 * COUNT(*) FROM RDB$FILES"),
        ("text    = \"SELECT MON$BACKUP_STATE,", "text    = \"SELECT 0 * MON$BACKUP_STATE,"),
    ]);
    site.configure(&configuration(&server, &[&database, &other], &blind.line()));
    let said = site.json(&["--allow-unsigned", "run", "--", "true"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("already in the physical backup mode"), "{}", said.text);
    assert_eq!(
        (server.backup_state(&database), server.backup_state(&other)),
        ("0".into(), "1".into()),
        "ours is ended, theirs is not: {}",
        said.text
    );
}

#[test]
fn a_backup_mode_that_somebody_ended_is_not_called_consistent() {
    let test = "a_backup_mode_that_somebody_ended_is_not_called_consistent";
    let Some((server, database)) = one(test) else { return };
    let site = Site::with(&configuration(&server, &[&database], ""));
    site.freeze();
    server.sql(&database, "ALTER DATABASE END BACKUP;");
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    // Nor is one whose server died and came again, whatever stands on disk.
    site.freeze();
    let server = server.start_again();
    assert_eq!(server.backup_state(&database), "1");
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
    // Through a new session.
    server.wait_for_the_end(&database);
}

/// It finishes that when it is back, and forgets to say so.
#[test]
fn a_mark_that_a_lost_server_leaves_is_taken_away() {
    let test = "a_mark_that_a_lost_server_leaves_is_taken_away";
    let Some((mut server, database)) = one(test) else { return };
    // The server must be lost while it is at it, and may be quicker: then once more, with more to bring back.
    let mut is_left = false;
    for rows in [3000, 6000, 12000, 24000, 48000, 96000] {
        server.fill(&database, rows);
        server.sql(&database, "ALTER DATABASE BEGIN BACKUP;");
        server.sql(&database, "UPDATE big SET text = LPAD('', 3000, id || ' ');");
        let ending = server.start_sql(&database, "ALTER DATABASE END BACKUP;");
        wait_until("it is on its way, or over", || server.backup_state(&database) != "1");
        server = server.start_again();
        drop(ending);
        wait_until("it has finished", || server.backup_state(&database) == "0");
        let refused = server.try_sql(&database, "ALTER DATABASE BEGIN BACKUP;");
        is_left = refused.stderr.contains("already in the physical backup mode");
        if is_left {
            break;
        }
        assert_eq!(refused.code, Some(0), "{refused:?}");
        server.sql(&database, "ALTER DATABASE END BACKUP;");
        server.wait_for_the_end(&database);
    }
    assert!(is_left, "the server was quicker each time");
    let site = Site::with(&configuration(&server, &[&database], ""));
    let told = site.json(&["check"]).findings();
    assert!(told.iter().any(|f| f.starts_with("note: ") && f.contains("the mark that is left")), "{told:?}");
    let said = site.json(&["run", "--", "true"]);
    said.assert_recoverable();
    server.wait_for_the_end(&database);
    server.rows(&database);
}

/// The server takes its time to bring back what was written; nobody waits for that, and nothing is said to stand still.
#[test]
fn a_long_way_back_is_the_servers_own() {
    let test = "a_long_way_back_is_the_servers_own";
    let Some((server, database)) = one(test) else { return };
    server.fill(&database, 0);
    let site = Site::with(&configuration(&server, &[&database], ""));
    site.freeze();
    server.fill(&database, 2000);
    let began = Instant::now();
    let said = site.json(&["thaw"]);
    let (took, after) = (began.elapsed(), server.backup_state(&database));
    said.assert_recoverable();
    eprintln!("thaw took {took:?}, then the state was {after}");
    // What is still under way is no reason to begin anew; the server may be too busy with it even to say so.
    let again = site.json(&["check"]);
    let told =
        ["still taking back", "to the end of its last backup mode"].iter().any(|words| again.text.contains(words));
    let refused = told || again.faults() == ["SP-DB-002"];
    assert!(again.code == Some(0) || refused, "{}", again.text);
    server.wait_for_the_end(&database);
    assert_eq!(server.sql(&database, "SELECT COUNT(*) FROM big;"), ["2000"]);
    server.rows(&database);
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
}

#[test]
fn the_least_login_suffices_and_its_password_is_seen_nowhere() {
    const SECRET: &str = "hunter2 ;#'";
    let test = "the_least_login_suffices_and_its_password_is_seen_nowhere";
    if !can_be_somebody_else(test) {
        return;
    }
    let Some((server, database)) = one(test) else { return };
    let site = Site::new();
    let credential = site.credential(&format!("-u backup \"-p{SECRET}\" -h 127.0.0.1 -P {}", server.port()));
    site.configure(&format!(
        "[workload]\nworkload_name = firebird\nlinux_user = nobody\ndbnames = {}\ncredential_file = {}\ntimeout = 60\n",
        database.display(),
        credential.display()
    ));
    assert_eq!(site.json(&["check"]).faults(), ["SP-DB-001"], "there is no such user");
    server.sql(&database, &format!("CREATE USER backup PASSWORD '{}';", SECRET.replace('\'', "''")));
    let said = site.json(&["check"]);
    said.assert_fault(4, "SP-DB-011");
    assert!(said.text.contains("lacks the privilege ALTER DATABASE"), "{}", said.text);
    let printed = site.call(&["privileges", "firebird"]);
    // As it was printed, by the administrator.
    server.sql(&database, &printed.stdout);
    let said = site.json(&["check"]);
    assert_eq!((said.code, said.findings()), (Some(0), Vec::new()), "{}", said.text);
    let frozen = site.freeze();
    let port = format!("inet://127.0.0.1:{}/", server.port());
    let clients = processes::with_words(&["-fetch_password\0/proc/self/fd/", &port]);
    assert!(clients.len() >= 2, "the clients run with their credential");
    processes::show_nowhere("hunter2 ;");
    let said = site.json(&["thaw"]);
    said.assert_recoverable();
    assert!(!frozen.text.contains("hunter2") && !said.text.contains("hunter2"));

    server.sql(&database, "GRANT INSERT ON writes TO USER backup; GRANT ALTER ANY TABLE TO USER backup;");
    let told = site.json(&["check"]).findings();
    let [excess] = told.try_into().unwrap_or_else(|f| panic!("{f:?}"));
    assert!(excess.starts_with("note: ") && excess.contains("INSERT ON WRITES"), "{excess}");
    // The server itself holds this login back from all else.
    let module = Unsigned::of("firebird");
    module.lie(&[("\"ALTER DATABASE BEGIN BACKUP\"", "\"DELETE FROM RDB$RELATIONS\"")]);
    site.add_to_configuration(&module.line());
    let said = site.json(&["--allow-unsigned", "run", "--", "true"]);
    assert!(said.code == Some(4) && said.text.contains("no permission"), "{}", said.text);
}

#[test]
fn check_tells_what_an_administrator_must_know() {
    let test = "check_tells_what_an_administrator_must_know";
    let Some((server, database)) = one(test) else { return };
    let elsewhere = |name: &str| server.folder().join(name).display().to_string();
    server.sql(
        &database,
        &format!(
            "ALTER DATABASE ADD DIFFERENCE FILE '{}'; CREATE SHADOW 1 '{}';",
            elsewhere("meanwhile"),
            elsewhere("shadow")
        ),
    );
    server.gfix(&["-write", "async"], &database);
    let site = Site::with(&configuration(&server, &[&database], ""));
    let said = site.json(&["check"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.text.contains("3.0") && said.text.contains("ODS 12"), "{}", said.text);
    let told = said.findings().join("\n");
    for words in [
        "warning: forced writes are off",
        &format!("writes into {} during its backup mode", elsewhere("meanwhile")),
        &format!("has a shadow in {}", elsewhere("shadow")),
        "SYSDBA",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let said = site.json(&["run", "--", "ls", &elsewhere("meanwhile")]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(server.backup_state(&database), "0");

    let several = server.folder().join("several.fdb");
    server.make(&several);
    server.sql(&several, &format!("ALTER DATABASE ADD FILE '{}' STARTING AT 5000;", elsewhere("second")));
    site.configure(&configuration(&server, &[&several], ""));
    let said = site.json(&["check"]);
    assert!(
        said.code == Some(4) && said.text.contains(&format!("goes on in {}", elsewhere("second"))),
        "{}",
        said.text
    );

    let read_only = server.folder().join("read-only.fdb");
    server.make(&read_only);
    server.gfix(&["-mode", "read_only"], &read_only);
    site.configure(&configuration(&server, &[&read_only], ""));
    let said = site.json(&["check"]);
    assert!(said.code == Some(4) && said.text.contains("read-only.fdb is read-only"), "{}", said.text);
    site.configure(&configuration(&server, &[], ""));
    let said = site.json(&["check"]);
    assert!(said.code != Some(0) && said.text.contains("dbnames"), "{}", said.text);
    site.configure(&configuration(&server, &[&database], "").replace("-h 127.0.0.1", "-D orders -h 127.0.0.1"));
    assert_eq!(site.json(&["check"]).faults(), ["SP-CLIENT-003"]);
}
