//! The least login, as `stillpoint privileges` prints it, on a real MariaDB: it suffices, and what is missing or too much
//! is told. And what the server itself refuses, whatever a manifest calls a statement.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use stillpoint_tests::dist;
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::missing::can_be_somebody_else;
use stillpoint_tests::program::run;
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::unsigned::Unsigned;

/// A user of every machine, who may do nothing.
fn configuration(server: &MariaDb, more: &str) -> String {
    format!(
        "[workload orders]\nworkload_name = mariadb\nlinux_user = nobody\ntimeout = 60\n\
         credString = -u nobody --socket={}\n{more}",
        server.socket().display()
    )
}

#[test]
fn the_least_login_suffices_and_what_differs_from_it_is_told() {
    let test = "the_least_login_suffices_and_what_differs_from_it_is_told";
    if !can_be_somebody_else(test) {
        return;
    }
    let Some(server) = MariaDb::private(test, &["--log-bin=binlog"]) else { return };
    server.make_table();
    let site = Site::with(&configuration(&server, ""));
    let printed = site.call(&["privileges", "orders"]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    // As it was printed, by the administrator.
    server.sql(&printed.stdout);
    let said = site.json(&["check"]);
    assert_eq!((said.code, said.findings()), (Some(0), Vec::new()), "{}", said.text);
    let said = site.json(&["run", "--", "true"]);
    said.assert_still();
    assert_eq!(said.json["workloads"][0]["point"].as_array().unwrap().len(), 3, "{}", said.text);

    server.sql("GRANT INSERT ON app.* TO nobody@localhost; GRANT SHUTDOWN ON *.* TO nobody@localhost;");
    let said = site.json(&["check"]);
    let [excess] = said.findings().try_into().unwrap_or_else(|f| panic!("{f:?}"));
    for words in ["note: ", "INSERT ON app.*", "SHUTDOWN ON *.*", "stillpoint privileges orders"] {
        assert!(excess.contains(words), "{words}: {excess}");
    }
    server.sql(
        "REVOKE INSERT ON app.* FROM nobody@localhost; REVOKE SHUTDOWN, BINLOG MONITOR, PROCESS ON *.* FROM nobody@localhost;",
    );
    let said = site.json(&["check"]);
    let told = said.findings();
    assert_eq!((said.code, told.len()), (Some(0), 2), "{}", said.text);
    assert!(told[0].starts_with("warning: the login lacks the privilege BINLOG MONITOR ON *.*"), "{told:?}");
    assert!(told[1].starts_with("warning: the login lacks the privilege PROCESS ON *.*"), "{told:?}");

    server.sql("REVOKE RELOAD ON *.* FROM nobody@localhost;");
    let said = site.json(&["check"]);
    said.assert_fault(4, "SP-DB-011");
    assert!(said.text.contains("RELOAD ON *.*") && said.text.contains("stillpoint privileges orders"), "{}", said.text);
}

/// The printed login is by socket, which lets in the user of that name alone.
#[test]
fn one_that_logs_in_as_somebody_else_is_told_to_take_a_password() {
    let test = "one_that_logs_in_as_somebody_else_is_told_to_take_a_password";
    if !can_be_somebody_else(test) {
        return;
    }
    let Some(server) = MariaDb::private(test, &["--log-bin=binlog"]) else { return };
    let site = Site::with(&configuration(&server, "").replace("-u nobody", "-u backup -pword"));
    let printed = site.call(&["privileges", "orders"]).stdout;
    assert!(printed.contains("\n-- Its client runs as linux_user (nobody)"), "{printed}");
    server.sql(&printed);
    assert_eq!(site.json(&["check"]).faults(), ["SP-DB-001"]);
    server.sql("ALTER USER backup@localhost IDENTIFIED BY 'word';");
    let said = site.json(&["check"]);
    assert_eq!((said.code, said.findings()), (Some(0), Vec::new()), "{}", said.text);
}

#[test]
fn a_workload_without_logins_says_what_counts() {
    let site = Site::with("[workload shop]\nworkload_name = sqlite\ndbnames = /tmp/none.db\n");
    let said = site.call(&["privileges", "shop"]);
    assert!(said.code == Some(0) && said.stdout.contains("linux_user (root)"), "{said:?}");
    let said = site.json(&["privileges", "other"]);
    assert_eq!((said.code, said.faults()), (Some(2), vec!["SP-CFG-013".to_owned()]));
    assert!(said.text.contains("shop"), "{}", said.text);
}

/// A module whose author lies, and which nobody has signed: it calls a write a change of the log. It runs here only because
/// it was asked for.
#[test]
fn what_a_manifest_calls_something_else_the_server_refuses() {
    let test = "what_a_manifest_calls_something_else_the_server_refuses";
    let Some(server) = MariaDb::private(test, &["--log-bin=binlog"]) else { return };
    server.make_table();
    let module = Unsigned::of("mariadb");
    let site = Site::with(&format!(
        "[workload orders]\nworkload_name = mariadb\ntimeout = 60\ncredString = -u root --socket={}\n{}",
        server.socket().display(),
        module.line()
    ));
    for write in [
        "INSERT INTO app.writes VALUES (99, 99)",
        "CREATE USER door@localhost",
        "DROP TABLE app.writes",
        "GRANT ALL ON *.* TO nobody@localhost",
    ] {
        module.lie(&[("\"FLUSH BINARY LOGS\"", &format!("\"{write}\""))]);
        // Nobody has signed it.
        assert_eq!(site.json(&["run", "--", "true"]).faults(), ["SP-TRUST-004"], "{write}");
        let said = site.json(&["--allow-unsigned", "run", "--", "true"]);
        assert_eq!(said.code, Some(4), "{write}: {}", said.text);
        assert!(said.text.contains("READ ONLY transaction"), "{write}: {}", said.text);
        assert!(said.faults().contains(&"SP-TRUST-020".to_owned()), "it says so: {}", said.text);
    }
    assert_eq!(server.sql("SELECT COUNT(*) FROM app.writes WHERE writer = 99;"), "0\n");
    module.lie(&[]);
    let said = site.json(&["--allow-unsigned", "run", "--", "true"]);
    said.assert_fault(0, "SP-TRUST-020");
}

#[test]
fn nothing_unsigned_runs_from_the_systems_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("workload.conf");
    fs::write(&own, "[workload]\nworkload_name = sqlite\n").unwrap();
    fs::set_permissions(&own, PermissionsExt::from_mode(0o600)).unwrap();
    let state = folder.path().join("state");
    // Whatever is there: nothing of it is read.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    let ways: [&[&str]; 5] = [
        &["--state-dir", state.to_str().unwrap(), "--config", link.to_str().unwrap()],
        &["--state-dir", state.to_str().unwrap(), "--config", "/tmp/../etc/passwd"],
        &["--config", own.to_str().unwrap()],
        &["--state-dir", state.to_str().unwrap(), "--config", "/etc/stillpoint/workload.conf"],
        &[],
    ];
    for way in ways {
        let mut command = std::process::Command::new(dist::program("stillpoint"));
        let said = Said::of(run(command.args(["--output", "json", "--allow-unsigned"]).args(way).arg("check"), ""));
        said.assert_fault(3, "SP-TRUST-017");
    }
}
