//! What log backup refuses and what it notices. That it copies is shown where the copies are needed: in the drills.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use stillpoint_tests::folder;
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::missing::is_root;
use stillpoint_tests::postgres::Postgres;
use stillpoint_tests::program::succeed;
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::{dist, wait_until};

fn to(destination: &Path) -> String {
    format!("timeout = 60\n[logbackup]\nbaseLocation = {}\n", destination.display())
}

fn folder_of(said: &Said) -> PathBuf {
    PathBuf::from(said.json["workloads"][0]["folder"].as_str().unwrap())
}

fn copied(said: &Said) -> usize {
    said.json["workloads"][0]["copied"].as_array().unwrap().len()
}

/// A database that was taken over could call anybody's file its log.
#[test]
fn a_file_of_another_user_is_no_log() {
    let test = "a_file_of_another_user_is_no_log";
    if !is_root(test, "only root reads what is not its own") {
        return;
    }
    let Some(server) = MariaDb::private(test, &["--log-bin=binlog"]) else { return };
    let shipped = folder::with_mode(0o755);
    let site = Site::with(&server.configuration(&to(shipped.path())));
    let log = server.data().join("binlog.000001");
    succeed(Command::new("chown").arg("nobody").arg(&log), "");
    let said = site.json(&["log-backup"]);
    said.assert_fault(1, "SP-LOG-005");
    assert!(said.text.contains("it belongs to user 65534"), "{}", said.text);
    assert_eq!(folder::files(shipped.path()), [] as [PathBuf; 0]);
    succeed(Command::new("chown").arg("mysql").arg(&log), "");
    let said = site.json(&["log-backup"]);
    assert_eq!((said.code, copied(&said)), (Some(0), 2), "{}", said.text);
}

/// An absent mount leaves an empty folder, whatever the server calls its logs by then. One that was moved aside does not.
#[test]
fn an_absent_mount_is_not_filled() {
    let test = "an_absent_mount_is_not_filled";
    let Some(server) = MariaDb::private(test, &["--log-bin=binlog", "--server-id=7"]) else { return };
    let own = folder::with_mode(0o755);
    let (mount, elsewhere) = (own.path().join("mount"), own.path().join("elsewhere"));
    std::fs::create_dir(&mount).unwrap();
    let site = Site::with(&server.configuration(&to(&mount)));
    let first = site.json(&["log-backup"]);
    assert_eq!((first.code, copied(&first)), (Some(0), 1), "{}", first.text);

    std::fs::rename(&mount, &elsewhere).unwrap();
    std::fs::create_dir(&mount).unwrap();
    server.sql("SET GLOBAL server_id = 8;");
    site.json(&["log-backup"]).assert_fault(1, "SP-LOG-003");
    assert_eq!(std::fs::read_dir(&mount).unwrap().count(), 0);

    std::fs::remove_dir(&mount).unwrap();
    std::fs::rename(&elsewhere, &mount).unwrap();
    server.sql("SET GLOBAL server_id = 7;");
    std::fs::rename(folder_of(&first), own.path().join("aside")).unwrap();
    let said = site.json(&["log-backup"]);
    assert!(said.code == Some(0) && copied(&said) >= 2, "{}", said.text);
}

/// A server that was restored writes logs of the same names again.
#[test]
fn logs_of_another_history_are_not_taken_for_the_same() {
    let test = "logs_of_another_history_are_not_taken_for_the_same";
    let Some(server) = MariaDb::private(test, &["--log-bin=binlog"]) else { return };
    let shipped = folder::with_mode(0o755);
    let site = Site::with(&server.configuration(&to(shipped.path())));
    server.make_table();
    let first = site.json(&["log-backup"]);
    assert_eq!((first.code, copied(&first)), (Some(0), 1), "{}", first.text);
    server.sql("RESET MASTER;");
    let said = site.json(&["log-backup"]);
    said.assert_fault(1, "SP-LOG-005");
    assert!(said.text.contains("another history") && said.text.contains("move "), "{}", said.text);
}

/// Logs that are gone are told until a snapshot was taken that does not need them.
#[test]
fn logs_that_were_removed_too_early_are_not_forgotten() {
    let test = "logs_that_were_removed_too_early_are_not_forgotten";
    let Some(server) = MariaDb::private(test, &["--log-bin=binlog"]) else { return };
    let shipped = folder::with_mode(0o755);
    let site = Site::with(&server.configuration(&to(shipped.path())));
    let first = site.json(&["log-backup"]);
    assert_eq!((first.code, copied(&first)), (Some(0), 1), "{}", first.text);
    server.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS;");
    // The server keeps what it may need itself after a crash, until InnoDB has written it out.
    wait_until("they are purged", || {
        server.sql("PURGE BINARY LOGS TO 'binlog.000004';");
        server.sql("SHOW BINARY LOGS;").lines().count() == 1
    });
    for _ in 0..2 {
        site.json(&["log-backup"]).assert_fault(1, "SP-LOG-006");
    }
    site.json(&["run", "--", "true"]).assert_still();
    let said = site.json(&["log-backup"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
}

/// PostgreSQL hands its log on by itself, or seems to.
#[test]
fn an_archive_command_that_leads_nowhere_is_noticed() {
    let test = "an_archive_command_that_leads_nowhere_is_noticed";
    let Some(server) = Postgres::private(test, &["archive_mode=on"]) else { return };
    let own = folder::with_mode(0o755);
    let site = Site::with(&server.configuration(&to(own.path())));
    server.make_table();
    let program = own.path().join("stillpoint");
    std::fs::copy(dist::program("stillpoint"), &program).unwrap();
    let archive_to = |command: &str| {
        server.sql(&format!("ALTER SYSTEM SET archive_command = '{command}';"));
        server.sql("SELECT pg_reload_conf(); CREATE TABLE IF NOT EXISTS other (a INT);");
    };
    // Its folder is the database's: whoever makes it does what the words say.
    archive_to("false");
    let said = site.json(&["log-backup"]);
    said.assert_fault(1, "SP-LOG-002");
    let next = said.json["workloads"][0]["faults"][0]["next"].as_str().unwrap();
    assert!(next.starts_with("install -d "), "{next}");
    succeed(Command::new("sh").args(["-c", next]), "");
    site.json(&["log-backup"]).assert_fault(1, "SP-LOG-008");
    // To a folder that nobody looks into.
    let other = own.path().join("other");
    succeed(Command::new("install").args(["-d", "-o", "postgres"]).arg(&other), "");
    archive_to(&format!("{} log-backup --into {} %p", program.display(), other.display()));
    site.json(&["log-backup"]).assert_fault(1, "SP-LOG-008");
    archive_to(&format!("{} log-backup --into {} %p", program.display(), folder_of(&said).display()));
    let said = site.json(&["log-backup"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let newest = said.json["workloads"][0]["newest"].as_str().unwrap();
    assert!(folder_of(&said).join(newest).exists());
}
