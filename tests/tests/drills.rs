//! Drills: the data folder is destroyed, and made whole again by the commands that `stillpoint recovery` prints, copied from
//! its output.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use stillpoint_tests::comparison::{Row, assert_same};
use stillpoint_tests::folder;
use stillpoint_tests::mariadb::{self, MariaDb};
use stillpoint_tests::mysql;
use stillpoint_tests::postgres::{self, Postgres};
use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::volume::{Shown, Volume};
use stillpoint_tests::wait_until;
use stillpoint_tests::writers::{Log, Writers};

/// The printed commands, run by a shell as they stand.
fn recover(site: &Site, arguments: &[&str], environment: &[(&str, &Path)]) {
    let mut all = vec!["recovery"];
    all.extend(arguments);
    let printed = site.call(&all);
    assert_eq!(printed.code, Some(0), "{}", printed.text());
    let script = site.path("recover.sh");
    std::fs::write(&script, &printed.stdout).unwrap();
    let mut shell = Command::new("timeout");
    shell.args(["120", "sh"]).arg(&script).envs(environment.iter().copied());
    let log = std::fs::File::create(site.path("recover.log")).unwrap();
    shell.stdout(log.try_clone().unwrap()).stderr(log);
    let ended = shell.status().unwrap();
    let said = std::fs::read_to_string(site.path("recover.log")).unwrap();
    if !ended.success() {
        let named = printed.stdout.split_whitespace().find_map(|w| w.strip_prefix(">>"));
        let server = named.and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
        panic!("{ended}\n{}\n{said}\n{server}", printed.stdout);
    }
}

/// Beside what runs, in a folder of its own.
fn recover_beside(site: &Site, root: &str, to: &Path, environment: &[(&str, &Path)]) {
    recover(site, &["--route", "scratch", "--snapshot", root, "--folder", to.to_str().unwrap()], environment);
}

/// A folder in which the snapshot is found as it would be on its own mounted disks.
fn mounted(site: &Site, volume: &Volume, snapshot: &Path) -> Shown {
    volume.show_below(&site.path("mnt"), snapshot)
}

/// On a machine that is made from the snapshot the data is there already.
fn made_from(snapshot: &Path, data: &Path) {
    std::fs::remove_dir_all(data).unwrap();
    folder::copy(snapshot, data);
}

/// This section as that of `orders`, whose logs are kept below this folder.
fn shipping(section: &str, to: &Path) -> String {
    format!("{}[logbackup]\nbaseLocation = {}\n", section.replace("[workload]", "[workload orders]"), to.display())
}

/// A moment between whole seconds that nothing happens in, and which is over: seconds since 1970.
fn quiet_moment() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let moment = now() + 1;
    wait_until("a second is over", || now() > moment);
    moment
}

fn rfc3339(seconds: u64) -> String {
    succeed(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"]).arg(format!("@{seconds}")), "").trim().into()
}

fn log_backup(site: &Site) -> Said {
    let said = site.json(&["log-backup"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    said
}

/// All that was acknowledged, and nothing that was written later.
fn assert_exactly(log: &Log, rows: &BTreeSet<Row>) {
    assert!(log.errors.is_empty(), "{:?}", log.errors);
    let acknowledged: BTreeSet<Row> =
        log.commits.iter().filter(|c| c.acknowledged.is_some()).map(|c| (c.writer, c.sequence)).collect();
    assert!(acknowledged.len() > 100);
    let missing: Vec<&Row> = acknowledged.difference(rows).collect();
    assert!(missing.is_empty(), "{} of {} are missing, such as {:?}", missing.len(), acknowledged.len(), missing[0]);
    let more: Vec<&Row> = rows.iter().filter(|(writer, _)| *writer >= LATER).collect();
    assert!(more.is_empty(), "{} rows are there that were written later", more.len());
}

/// Writers from this number on write after the time that is recovered to.
const LATER: u32 = 90;

/// Fifty commits after that time.
fn later(table: &str) -> String {
    (1..=50).map(|i| format!("INSERT INTO {table} VALUES ({LATER}, {i});\n")).collect()
}

fn count_later(rows: &BTreeSet<Row>) -> usize {
    rows.iter().filter(|(writer, _)| *writer == LATER).count()
}

/// A snapshot among writers that never stop, and what they write after it.
fn snapshot_among(site: &Site, volume: &Volume, writers: &Writers) -> (Said, PathBuf) {
    writers.get_on(30);
    let (said, _, snapshot) = site.while_frozen(|| volume.snapshot("copy"));
    assert_eq!(said.code, Some(0), "{}", said.text);
    writers.get_on(30);
    (said, snapshot)
}

#[test]
fn mariadb_is_whole_again_to_the_second() {
    let test = "mariadb_is_whole_again_to_the_second";
    let Some(volume) = Volume::make(test) else { return };
    let data = volume.data().join("mysql");
    let Some(()) = mariadb::fresh(test, &data) else { return };
    let server = MariaDb::on(&data, &["--log-bin=binlog", "--server-id=7"]);
    server.make_table();
    let shipped = tempfile::tempdir().unwrap();
    let site = Site::with(&shipping(&server.configuration("timeout = 60\n"), shipped.path()));
    let writers = server.writers(3);
    writers.get_on(20);
    assert_eq!(log_backup(&site).json["workloads"][0]["copied"].as_array().unwrap().len(), 1);
    let (said, snapshot) = snapshot_among(&site, &volume, &writers);
    log_backup(&site);
    writers.get_on(30);
    let log = writers.stop();
    let moment = quiet_moment();
    server.sql(&later("app.writes"));
    let last = log_backup(&site);
    let folder = PathBuf::from(last.json["workloads"][0]["folder"].as_str().unwrap());
    assert_eq!(said.json["workloads"][0]["log_folder"], last.json["workloads"][0]["folder"]);
    succeed(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&folder), "");
    drop(server);
    std::fs::remove_dir_all(&data).unwrap();

    // What the machine's own configuration would say of a data folder that is so small.
    std::fs::write(
        site.path("my.cnf"),
        "[mysqld]\ninnodb_data_file_path=ibdata1:4M:autoextend\nserver_id=7\nlog_bin=binlog\n",
    )
    .unwrap();
    let small = [("MYSQL_HOME", site.path("")), ("MARIADB_HOME", site.path(""))];
    let small: Vec<(&str, &Path)> = small.iter().map(|(k, v)| (*k, v.as_path())).collect();
    let root = mounted(&site, &volume, &snapshot);
    let to = rfc3339(moment);
    let open = |folder: &Path| MariaDb::on(folder, &["--log-bin=binlog", "--server-id=7"]).rows();

    // Where it lay, from disks that are attached.
    recover(&site, &["--route", "attached-disks", "--snapshot", &root, "--to", &to], &small);
    assert_exactly(&log, &open(&data));
    // A machine that was made from the snapshot: the data is there already. All logs, to the end.
    made_from(&snapshot.join("mysql"), &data);
    recover(&site, &["--route", "new-machine", "--to", "latest"], &small);
    assert_eq!(count_later(&open(&data)), 50);
    // One table of the snapshot itself, through a server beside the one that runs.
    let scratch = volume.data().join("scratch");
    recover_beside(&site, &root, &scratch, &small);
    let socket = format!("--socket={}", scratch.join("stillpoint.sock").display());
    let dump = succeed(Command::new("mariadb-dump").args(["--no-defaults", &socket, "app", "writes"]), "");
    succeed(Command::new("mariadb-admin").args(["--no-defaults", &socket, "shutdown"]), "");
    assert!(dump.contains("INSERT INTO `writes`"), "{dump}");
}

#[test]
fn sqlite_is_whole_again_file_by_file() {
    let test = "sqlite_is_whole_again_file_by_file";
    let Some(volume) = Volume::make(test) else { return };
    let (orders, stock) = (volume.data().join("orders.db"), volume.data().join("app/stock's.db"));
    std::fs::create_dir(volume.data().join("app")).unwrap();
    sqlite::make(&orders, Journal::Wal);
    sqlite::make(&stock, Journal::Rollback);
    let site = Site::with(&format!(
        "[workload app]\nworkload_name = sqlite\ndbnames = {}, {}\ntimeout = 60\nstall_budget = 30\n",
        orders.display(),
        stock.display()
    ));
    let all = [sqlite::writers(&orders, 3), sqlite::writers(&stock, 1)];
    all.iter().for_each(|w| w.get_on(20));
    let (said, window, snapshot) = site.while_frozen(|| volume.snapshot("copy"));
    said.assert_still();
    all.iter().for_each(|w| w.get_on(20));
    let logs = all.map(Writers::stop);
    let compared = |what: &str, orders: &Path, stock: &Path| {
        assert_same(&format!("orders, {what}"), &logs[0], window, &sqlite::rows(orders));
        assert_same(&format!("stock, {what}"), &logs[1], window, &sqlite::rows(stock));
    };
    let root = mounted(&site, &volume, &snapshot);
    let destroy = || {
        for file in [&orders, &stock] {
            for end in ["", "-wal", "-shm", "-journal"] {
                let _ = std::fs::remove_file(format!("{}{end}", file.display()));
            }
        }
    };
    destroy();
    recover(&site, &["--route", "attached-disks", "--snapshot", &root], &[]);
    compared("from attached disks", &orders, &stock);
    let scratch = site.path("scratch");
    recover_beside(&site, &root, &scratch, &[]);
    // In the order of the configuration.
    let copy = |number: &str, file: &Path| scratch.join(number).join(file.file_name().unwrap());
    compared("beside", &copy("1", &orders), &copy("2", &stock));
    destroy();
    succeed(Command::new("cp").arg("-a").arg(format!("{}/.", snapshot.display())).arg(volume.data()), "");
    recover(&site, &["--route", "new-machine"], &[]);
    compared("on a new machine", &orders, &stock);
}

/// Whose logs they are.
fn series(data: &Path) -> String {
    let tool = "PATH=$PATH:/usr/lib/postgresql/15/bin; pg_controldata \"$0\"";
    let said = succeed(Command::new("sh").args(["-c", tool]).arg(data), "");
    said.lines().find_map(|l| l.strip_prefix("Database system identifier:")).unwrap().trim().to_owned()
}

/// The folder to which the server hands on its log, as its own user, and the setting by which it does.
fn hand_on(volume: &Volume, data: &Path, shipped: &Path) -> (PathBuf, String) {
    std::fs::set_permissions(shipped, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let folder = shipped.join("orders").join(series(data));
    std::fs::create_dir_all(&folder).unwrap();
    succeed(Command::new("chown").arg("-R").arg("postgres:").arg(shipped), "");
    let program = volume.data().join("stillpoint");
    std::fs::copy(Site::new().command(&[]).get_program(), &program).unwrap();
    let setting = format!("archive_command={} log-backup --into {} %p", program.display(), folder.display());
    (folder, setting)
}

/// A copy of files, the last of them first: as it stands, it does not even start. With the label out of the record and the
/// log from its begin to its end, all of it is there.
#[test]
fn postgres_copied_file_by_file_is_whole_with_its_label_alone() {
    let test = "postgres_copied_file_by_file_is_whole_with_its_label_alone";
    let Some(volume) = Volume::make(test) else { return };
    let data = volume.data().join("pg");
    let Some(()) = postgres::fresh(test, &data) else { return };
    let shipped = tempfile::tempdir().unwrap();
    let (folder, archiving) = hand_on(&volume, &data, shipped.path());
    let server = Postgres::on(&data, &["archive_mode=on", &archiving]);
    server.make_table();
    let configuration =
        |server: &Postgres| shipping(&server.configuration("timeout = 60\nsnapshot = files\n"), shipped.path());
    let site = Site::with(&configuration(&server));
    let writers = server.writers(3);
    writers.get_on(30);
    site.freeze();
    let frozen = Instant::now();
    let copy = volume.data().join("copy");
    let part = |which: &str| folder::copy_those(which, &data, &copy);
    succeed(Command::new("install").args(["-d", "-o", "postgres", "-m", "700"]).arg(&copy), "");
    part("pg_wal");
    writers.get_on(30);
    server.sql("SELECT pg_switch_wal();");
    writers.get_on(30);
    server.sql("CHECKPOINT;");
    part("pg_wal) ;; *");
    let said = site.json(&["thaw"]);
    said.assert_recoverable();
    writers.get_on(30);
    let log = writers.stop();
    let closed = server.sql("SELECT pg_walfile_name(pg_switch_wal());");
    wait_until("the log is handed on", || folder.join(closed.trim()).exists());
    drop(server);

    // The wrong choice: as if it were of one instant.
    let wrong = volume.data().join("wrong");
    succeed(Command::new("cp").arg("-a").arg(&copy).arg(&wrong), "");
    std::fs::remove_file(wrong.join("postmaster.pid")).unwrap();
    let mut start = Command::new("runuser");
    start.args([
        "-u",
        "postgres",
        "--",
        "/usr/lib/postgresql/15/bin/postgres",
        "-k",
        "/tmp",
        "-c",
        "listen_addresses=",
        "-D",
    ]);
    let ended = run(
        Command::new("timeout").arg("30").arg(start.get_program()).args(start.get_args()).arg(&wrong).current_dir("/"),
        "",
    );
    assert!(ended.stderr.contains("could not locate a valid checkpoint record"), "{}", ended.stderr);

    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&copy, &data).unwrap();
    recover(&site, &["--route", "new-machine"], &[]);
    let rows = Postgres::on(&data, &[]).rows();
    let before = log.commits.iter().filter(|c| c.acknowledged.is_some_and(|a| a < frozen));
    assert!(before.clone().count() > 50 && before.into_iter().all(|c| rows.contains(&(c.writer, c.sequence))));

    // Without an archive there would be no such log.
    let server = Postgres::on(&data, &[]);
    site.configure(&configuration(&server));
    let said = site.json(&["check"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("archive_mode = off: a copy of more than one instant"), "{}", said.text);
}

#[test]
fn postgres_is_whole_again_to_a_time_and_to_the_recorded_point() {
    let test = "postgres_is_whole_again_to_a_time_and_to_the_recorded_point";
    let Some(volume) = Volume::make(test) else { return };
    let data = volume.data().join("pg");
    let Some(()) = postgres::fresh(test, &data) else { return };
    let shipped = tempfile::tempdir().unwrap();
    let (folder, archiving) = hand_on(&volume, &data, shipped.path());
    let server = Postgres::on(&data, &["archive_mode=on", &archiving]);
    server.make_table();
    let site = Site::with(&shipping(&server.configuration("timeout = 60\n"), shipped.path()));
    let writers = server.writers(3);
    writers.get_on(20);
    log_backup(&site);
    let (said, snapshot) = snapshot_among(&site, &volume, &writers);
    assert_eq!(said.json["workloads"][0]["log_folder"], folder.to_str().unwrap(), "{}", said.text);
    writers.get_on(30);
    let log = writers.stop();
    let moment = quiet_moment();
    server.sql(&later("writes"));
    let closed = server.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn());");
    log_backup(&site);
    wait_until("the log is handed on", || folder.join(closed.trim()).exists());
    drop(server);
    succeed(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&folder), "");
    std::fs::remove_dir_all(&data).unwrap();

    let root = mounted(&site, &volume, &snapshot);
    let to = rfc3339(moment);
    recover(&site, &["--route", "attached-disks", "--snapshot", &root, "--to", &to], &[]);
    let server = Postgres::on(&data, &[]);
    assert_exactly(&log, &server.rows());
    drop(server);
    // Exactly what the record says, and not a commit more: the server stops where the backup ended.
    made_from(&snapshot.join("pg"), &data);
    recover(&site, &["--route", "new-machine", "--to", "recorded"], &[]);
    let end = said.kept("end");
    let server = Postgres::on(&data, &[]);
    let history = std::fs::read_to_string(data.join("pg_wal/00000002.history")).unwrap();
    assert!(history.contains(&end), "{history} {end}");
    drop(server);
    // A table of the snapshot itself, through a server that nobody else uses.
    let scratch = volume.data().join("scratch");
    recover_beside(&site, &root, &scratch, &[]);
    let mut dump = Command::new("runuser");
    dump.args(["-u", "postgres", "--", "pg_dump", "-t", "writes", "-h"]).arg(&scratch).arg("postgres").current_dir("/");
    let dump = succeed(&mut dump, "");
    let mut stop = Command::new("runuser");
    stop.args(["-u", "postgres", "--", "/usr/lib/postgresql/15/bin/pg_ctl", "stop", "-s", "-m", "fast", "-D"])
        .arg(&scratch);
    succeed(stop.current_dir("/"), "");
    assert!(dump.contains("COPY public.writes"), "{dump}");

    // Once more from the same snapshot, after the database that came of it had gone on: that is not lost either.
    std::fs::remove_dir_all(&data).unwrap();
    recover(&site, &["--route", "attached-disks", "--snapshot", &root, "--to", &to], &[]);
    let server = Postgres::on(&data, &["archive_mode=on", &archiving]);
    server.sql("INSERT INTO writes VALUES (80, 1);");
    site.configure(&shipping(&server.configuration("timeout = 60\n"), shipped.path()));
    log_backup(&site);
    let first = folder.join("00000002.history");
    wait_until("its history is handed on", || first.exists());
    drop(server);
    std::fs::remove_dir_all(&data).unwrap();
    recover(&site, &["--route", "attached-disks", "--snapshot", &root, "--to", "latest"], &[]);
    let server = Postgres::on(&data, &[]);
    let rows = server.rows();
    assert!(rows.contains(&(80, 1)), "what was written after the first recovery is lost");
    assert_exactly(&log, &rows);
    drop(server);
    // Without that history nobody could know what belongs to it.
    std::fs::remove_file(&first).unwrap();
    let refused = site.call(&["recovery", "--route", "attached-disks", "--snapshot", &root, "--to", "latest"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("00000002.history"), "{}", refused.text());
}

mod newer {
    use super::*;

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn mysql_is_whole_again_to_the_second_and_to_the_recorded_point() {
        let test = "mysql_is_whole_again_to_the_second_and_to_the_recorded_point";
        let (Some(programs), Some(volume)) = (mysql::programs(test), Volume::make(test)) else { return };
        let data = volume.data().join("mysql");
        programs.fresh(&data);
        let server = programs.on(&data, &["--server-id=7"]);
        server.make_table();
        let shipped = tempfile::tempdir().unwrap();
        let site = Site::with(&shipping(&server.configuration("timeout = 60\n"), shipped.path()));
        let writers = server.writers(3);
        writers.get_on(20);
        log_backup(&site);
        let (said, snapshot) = snapshot_among(&site, &volume, &writers);
        assert_eq!(said.json["kind"], "recoverable", "{}", said.text);
        log_backup(&site);
        writers.get_on(30);
        let log = writers.stop();
        let moment = quiet_moment();
        server.sql(&later("app.writes"));
        log_backup(&site);
        drop(server);
        std::fs::remove_dir_all(&data).unwrap();

        // The machine's own configuration, and its programs.
        let settings = "[mysqld]\ninnodb_data_file_path=ibdata1:5M:autoextend\ninnodb_redo_log_capacity=8M\n\
                        secure_file_priv=\nserver_id=7\nlog_bin=binlog\n[client]\nuser=root\n";
        std::fs::write(site.path("my.cnf"), settings).unwrap();
        std::fs::create_dir(site.path("bin")).unwrap();
        for name in ["mysqld", "mysql", "mysqladmin", "mysqlbinlog", "mysqldump"] {
            let real = stillpoint_tests::newer::program(test, name).unwrap();
            let script = format!(
                "#!/bin/sh\nexec {} --defaults-file={} \"$@\"\n",
                real.display(),
                site.path("my.cnf").display()
            );
            std::fs::write(site.path("bin").join(name), script).unwrap();
            std::fs::set_permissions(site.path("bin").join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
        }
        let path = format!("{}:{}", site.path("bin").display(), std::env::var("PATH").unwrap());
        let programs_first = [("PATH", Path::new(&path))];
        let root = mounted(&site, &volume, &snapshot);
        let to = rfc3339(moment);
        let open = |folder: &Path| programs.on(folder, &["--server-id=7"]);

        // Where it lay, from disks that are attached.
        recover(&site, &["--route", "attached-disks", "--snapshot", &root, "--to", &to], &programs_first);
        assert_exactly(&log, &open(&data).rows());
        // A machine that was made from the snapshot. To where the server was at the thaw, and not a commit more.
        let again = || made_from(&snapshot.join("mysql"), &data);
        again();
        recover(&site, &["--route", "new-machine", "--to", "recorded"], &programs_first);
        assert_eq!(open(&data).sql("SELECT @@GLOBAL.gtid_executed;").trim(), said.kept("end_gtid"));
        // All logs, to the end.
        again();
        recover(&site, &["--route", "new-machine", "--to", "latest"], &programs_first);
        assert_eq!(count_later(&open(&data).rows()), 50);
        // One table of the snapshot itself, through a server beside the one that runs.
        let scratch = volume.data().join("scratch");
        recover_beside(&site, &root, &scratch, &programs_first);
        let socket = format!("--socket={}", scratch.join("stillpoint.sock").display());
        let dump = succeed(Command::new(site.path("bin/mysqldump")).args([&socket, "app", "writes"]), "");
        succeed(Command::new(site.path("bin/mysqladmin")).args([&socket, "shutdown"]), "");
        assert!(dump.contains("INSERT INTO `writes`"), "{dump}");
    }
}
