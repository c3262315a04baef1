//! Replicas: `role` and `enforceSlaveOnly`, on a real replica of a real primary, as the least login of each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::missing::can_be_somebody_else;
use stillpoint_tests::postgres::Postgres;
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::wait_until;

/// As the least login: a user of every machine, whom the socket knows.
fn section(module: &str, socket: &Path, more: &str) -> String {
    format!(
        "[workload]\nworkload_name = {module}\nlinux_user = nobody\ntimeout = 60\ncredString = -u nobody -S {}\n{more}",
        socket.display()
    )
}

fn warnings(said: &Said) -> Vec<String> {
    let all = said.json["workloads"][0]["findings"].as_array().into_iter().flatten();
    let warnings = all.filter(|f| f["level"] == "warning").filter_map(|f| f["text"].as_str());
    warnings.filter(|text| text.contains("role") || text.contains("configuration")).map(str::to_owned).collect()
}

fn role(said: &Said) -> &str {
    said.json["workloads"][0]["role"].as_str().unwrap_or_default()
}

/// Nothing is sent to it that it would not have been sent by `check`, and the snapshot is not taken.
fn refused(site: &Site, id: &str) {
    let ran = site.path("ran");
    for arguments in [&["check"][..], &["run", "--", "touch", ran.to_str().unwrap()]] {
        let said = site.json(arguments);
        said.assert_fault(4, id);
        assert_eq!(said.json["workloads"][0]["faults"][0]["azure"], 502, "{}", said.text);
        let told = site.call(arguments);
        let told = told.text();
        assert!(told.contains("enforceSlaveOnly = 0") && told.contains("(Azure: 502)"), "{told}");
    }
    assert!(!ran.exists(), "the snapshot was taken all the same");
}

#[test]
fn mariadb_is_frozen_as_what_it_is_and_a_primary_only_where_it_may_be() {
    let test = "mariadb_is_frozen_as_what_it_is_and_a_primary_only_where_it_may_be";
    if !can_be_somebody_else(test) {
        return;
    }
    let Some((primary, port)) = MariaDb::primary(test) else { return };
    let Some(replica) = MariaDb::replica(test, port, &["--log-bin=binlog", "--read-only=1"]) else { return };
    primary.make_table();
    let site = Site::with(&section("mariadb", &primary.socket(), ""));
    primary.sql(&site.call(&["privileges", "mariadb"]).stdout);
    wait_until("the login is on the replica, too", || {
        replica.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'nobody';").trim() == "1"
    });

    // Nobody said what it is: nothing is told but what it is.
    let said = site.json(&["run", "--", "true"]);
    assert_eq!((said.code, role(&said), warnings(&said).len()), (Some(0), "primary", 0), "{}", said.text);
    site.configure(&section("mariadb", &primary.socket(), "role = slave\n"));
    let said = site.json(&["run", "--", "true"]);
    assert_eq!((said.code, role(&said)), (Some(0), "primary"), "{}", said.text);
    assert!(warnings(&said)[0].starts_with("the server is a primary, and the configuration says"), "{}", said.text);

    site.configure(&section("mariadb", &primary.socket(), "role = slave\nenforceSlaveOnly = 1\n"));
    let log = || primary.sql("SHOW BINARY LOGS;").lines().count();
    let before = log();
    refused(&site, "SP-ROLE-001");
    assert_eq!(log(), before, "its log was rotated");

    site.configure(&section("mariadb", &replica.socket(), "role = slave\nenforceSlaveOnly = 1\n"));
    let writers = primary.writers(1);
    let said = site.json(&["run", "--", "true"]);
    said.assert_still();
    assert_eq!((role(&said), warnings(&said).len()), ("replica", 0), "{}", said.text);
    for command in [&["check"][..], &["run", "--", "true"]] {
        assert!(site.call(command).stdout.contains(", a replica"), "{command:?}");
    }
    assert!(replica.follows());
    writers.get_on(10);
    site.configure(&section("mariadb", &replica.socket(), "role = master\n"));
    let said = site.json(&["check"]);
    assert!(warnings(&said)[0].starts_with("the server is a replica, and the configuration says"), "{}", said.text);

    // One that waits is still one; one that takes writes of its own is none any more.
    site.configure(&section("mariadb", &replica.socket(), "enforceSlaveOnly = 1\n"));
    replica.sql("STOP SLAVE;");
    assert_eq!(site.json(&["run", "--", "true"]).code, Some(0));
    replica.sql("SET GLOBAL read_only = 0;");
    refused(&site, "SP-ROLE-001");
}

#[test]
fn postgres_is_frozen_as_what_it_is_and_a_primary_only_where_it_may_be() {
    let test = "postgres_is_frozen_as_what_it_is_and_a_primary_only_where_it_may_be";
    if !can_be_somebody_else(test) {
        return;
    }
    let Some(primary) = Postgres::private(test, &[]) else { return };
    primary.make_table();
    let only = "role = slave\nenforceSlaveOnly = 1\n";
    let site = Site::with(&section("postgres", primary.socket(), only));
    primary.sql(&site.call(&["privileges", "postgres"]).stdout);
    let standby = Postgres::standby(&primary);
    refused(&site, "SP-ROLE-001");
    site.configure(&section("postgres", standby.socket(), only));
    let said = site.json(&["run", "--", "true"]);
    assert_eq!((said.code, role(&said), warnings(&said).len()), (Some(0), "replica", 0), "{}", said.text);
    site.configure(&section("postgres", standby.socket(), "role = master\n"));
    let said = site.json(&["run", "--", "true"]);
    assert_eq!((said.code, warnings(&said).len()), (Some(0), 1), "{}", said.text);
    // Promoted, it is what it was told to be.
    standby.sql("SELECT pg_promote();");
    let said = site.json(&["run", "--", "true"]);
    assert_eq!((said.code, role(&said), warnings(&said).len()), (Some(0), "primary", 0), "{}", said.text);
}

/// Who cannot tell does not say yes; and the others of the cycle are frozen, where the operator wants that.
#[test]
fn a_module_that_cannot_tell_refuses_its_workload_alone() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["a.db", "b.db"].map(|name| folder.path().join(name));
    files.iter().for_each(|file| sqlite::make(file, Journal::Wal));
    let section = |name: &str, file: &Path, more: &str| {
        format!("[workload {name}]\nworkload_name = sqlite\ndbnames = {}\n{more}", file.display())
    };
    let site = Site::with(&section("a", &files[0], "enforceSlaveOnly = 1\n"));
    refused(&site, "SP-ROLE-002");
    site.configure(&section("a", &files[0], "role = slave\n"));
    let said = site.json(&["check"]);
    assert_eq!((said.code, warnings(&said).len()), (Some(0), 1), "{}", said.text);
    site.configure(&format!(
        "{}{}",
        section("a", &files[0], "enforceSlaveOnly = 1\non_failure = continue\n"),
        section("b", &files[1], "on_failure = continue\n")
    ));
    let said = site.freeze();
    assert_eq!(said.json["frozen"]["frozen"], serde_json::json!(["b"]), "{}", said.text);
    assert_eq!(said.json["frozen"]["failed"][0]["id"], "SP-ROLE-002", "{}", said.text);
    assert_eq!(site.json(&["thaw"]).code, Some(5));
}
