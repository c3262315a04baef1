//! What somebody else holds is reported, and never released.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::session::Session;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};

/// Writers of the application wait for somebody else, before and after.
fn is_still_held(server: &MariaDb) {
    let said = server.try_sql("SET SESSION lock_wait_timeout = 1; INSERT INTO app.held VALUES (1);");
    assert!(said.stderr.contains("1205"), "somebody else's lock was released: {said:?}");
}

#[test]
fn what_somebody_else_holds_is_named_and_left_alone() {
    let test = "what_somebody_else_holds_is_named_and_left_alone";
    let account = "--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON";
    let Some(server) = MariaDb::private(test, &["--performance-schema=ON", account]) else { return };
    server.sql("CREATE DATABASE IF NOT EXISTS app; CREATE TABLE app.held (a INT);");
    let site = Site::with(&server.configuration("stall_budget = 1\n"));
    // Beside a read lock our own stages can be taken; beside another backup they cannot.
    let ways = [("FLUSH TABLES WITH READ LOCK", Some(0)), ("BACKUP STAGE START; BACKUP STAGE BLOCK_COMMIT", Some(4))];
    for (lock, code) in ways {
        let somebody = server.hold(lock);
        is_still_held(&server);
        for command in [&["check"][..], &["run", "--", "true"]] {
            let said = site.json(command);
            let want = if command == ["check"] { Some(0) } else { code };
            assert_eq!(said.code, want, "{lock} {command:?}: {}", said.text);
            for words in ["of root@localhost", "It is not ours and is left alone"] {
                assert!(said.text.contains(words), "{words}: {}", said.text);
            }
        }
        is_still_held(&server);
        drop(somebody);
    }
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
}

/// Where the server does not say who, it is still not released.
#[test]
fn a_backup_that_nobody_can_name_is_left_alone() {
    let test = "a_backup_that_nobody_can_name_is_left_alone";
    let Some(server) = MariaDb::private(test, &[]) else { return };
    server.sql("CREATE DATABASE IF NOT EXISTS app; CREATE TABLE app.held (a INT);");
    let site = Site::with(&server.configuration("stall_budget = 1\n"));
    let somebody = server.hold("BACKUP STAGE START; BACKUP STAGE BLOCK_COMMIT");
    let said = site.json(&["run", "--", "true"]);
    said.assert_fault(4, "SP-DB-014");
    assert!(said.text.contains("another backup"), "{}", said.text);
    is_still_held(&server);
    drop(somebody);
}

#[test]
fn a_lock_on_a_sqlite_file_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let configuration = format!("[workload]\nworkload_name = sqlite\ndbnames = {}\n", file.display());
    let site = Site::with(&format!("{configuration}stall_budget = 1\n"));
    let mut somebody = Session::open(Command::new("sqlite3").arg("-batch").arg(&file));
    somebody.say("BEGIN IMMEDIATE;");
    let said = site.json(&["run", "--", "true"]);
    said.assert_fault(4, "SP-DB-014");
    let whose = format!("sqlite3 (process {}", somebody.id());
    assert!(said.text.contains(&whose), "{whose}: {}", said.text);
    assert!(sqlite::is_locked(&file), "somebody else's lock was released");
    drop(somebody);
    site.configure(&configuration);
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
}
