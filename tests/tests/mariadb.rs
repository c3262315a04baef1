//! MariaDB beside what never ends; and MariaDB 11, in all that matters.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use stillpoint_tests::mariadb::{MariaDb, Programs};
use stillpoint_tests::site::Site;

fn configuration(server: &MariaDb, more: &str) -> String {
    server.configuration(&format!("timeout = 60\n{more}")).replace("[workload]", "[workload orders]")
}

/// Statements that have run for this long, and a transaction that has been idle for as long.
fn what_never_ends(programs: &Programs, age: Duration) {
    let server = programs.private(&["--log-bin=binlog"]);
    server.make_table();
    server.sql(
        "CREATE TABLE app.seen (a INT PRIMARY KEY) ENGINE = InnoDB; INSERT INTO app.seen VALUES (1), (2); \
         CREATE TABLE app.slow (a INT) ENGINE = MyISAM; \
         CREATE TABLE app.plain (writer INT, sequence BIGINT, KEY (writer, sequence)) ENGINE = MyISAM;",
    );
    let site = Site::with(&configuration(&server, "stall_budget = 2\n"));
    let idle = server.hold("BEGIN; INSERT INTO app.seen VALUES (3)");
    let reads = server.busy_with("SELECT SLEEP(3600) FROM app.seen");
    server.wait_for_the_age_of_both(age);
    // Now: what a disk did to them in five minutes is no matter.
    let all = [server.writers(2), server.writers_into(1, "app.plain")];
    all.iter().for_each(|w| w.get_on(5));
    let told = site.json(&["check"]).findings().join("\n");
    for words in ["has been running one statement for", "has a transaction open for"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // What reads, and what is only open, is no hindrance.
    let said = site.json(&["run", "--", "true"]);
    said.assert_still();
    let gap = all.iter().map(|w| w.log().longest_gap()).max().unwrap();
    assert!(gap < Duration::from_secs(1), "a writer waited {gap:?}");

    // What writes to a table outside of transactions is one.
    let writes = server.busy_with("INSERT INTO app.slow SELECT SLEEP(3600)");
    let said = site.json(&["run", "--", "true"]);
    said.assert_fault(4, "SP-DB-014");
    all.iter().for_each(|w| w.get_on(5));
    let pending = server
        .sql("SELECT id, info FROM information_schema.processlist WHERE info LIKE 'BACKUP%' OR state LIKE '%backup%';");
    assert_eq!(pending, "", "{}", said.text);
    // Nor is anything held.
    server.sql("SET lock_wait_timeout = 1; BACKUP STAGE START; BACKUP STAGE END; CREATE TABLE app.new (a INT);");
    for writers in all {
        let gap = writers.stop().longest_gap();
        assert!(gap < Duration::from_millis(2500), "a writer waited {gap:?}");
    }
    drop((idle, reads, writes));
}

#[test]
fn a_long_statement_and_an_idle_transaction() {
    let Some(programs) = Programs::debian("a_long_statement_and_an_idle_transaction") else { return };
    what_never_ends(&programs, Duration::from_secs(2));
}

mod five_minutes {
    use super::*;

    /// `cargo test -p stillpoint-tests --test mariadb -- --ignored five_minutes`
    #[test]
    #[ignore = "it takes five minutes"]
    fn a_statement_and_an_idle_transaction() {
        let Some(programs) = Programs::debian("a_statement_and_an_idle_transaction") else { return };
        what_never_ends(&programs, Duration::from_secs(300));
    }
}

mod newer {
    use super::*;
    use stillpoint_tests::comparison::assert_same;
    use stillpoint_tests::missing::can_be_somebody_else;
    use stillpoint_tests::volume::Volume;

    fn comes_to_a_standstill(test: &str, options: &[&str]) {
        let (Some(programs), Some(volume)) = (Programs::newer(test), Volume::make(test)) else { return };
        let data = |volume: &std::path::Path| volume.join("mysql");
        programs.fresh(&data(&volume.data()));
        let server = programs.on(&data(&volume.data()), options);
        server.make_table();
        let site = Site::with(&configuration(&server, ""));
        let writers = server.writers(4);
        writers.get_on(20);
        let (said, window, (image, snapshot)) = site.while_frozen(|| volume.image_and_snapshot());
        writers.get_on(20);
        let log = writers.stop();
        said.assert_still();
        let version = said.json["workloads"][0]["database"].as_str().unwrap();
        assert!(version.starts_with("11.") || version.starts_with("12."), "{version}");
        drop(server);
        assert_same("the snapshot", &log, window, &programs.on(&data(&snapshot), options).rows());
        let volume = volume.replaced_by(image);
        assert_same("the block image", &log, window, &programs.on(&data(&volume.data()), options).rows());
    }

    #[test]
    #[ignore = "newer: MariaDB 11"]
    fn mariadb_11_that_flushes_at_each_commit() {
        comes_to_a_standstill("mariadb_11_that_flushes_at_each_commit", &["--log-bin=binlog"]);
    }

    #[test]
    #[ignore = "newer: MariaDB 11"]
    fn mariadb_11_that_flushes_once_a_second() {
        let options = ["--innodb-flush-log-at-trx-commit=0", "--log-bin=binlog", "--sync-binlog=0"];
        comes_to_a_standstill("mariadb_11_that_flushes_once_a_second", &options);
    }

    #[test]
    #[ignore = "newer: MariaDB 11"]
    fn what_never_ends_in_mariadb_11() {
        let Some(programs) = Programs::newer("what_never_ends_in_mariadb_11") else { return };
        what_never_ends(&programs, Duration::from_secs(2));
    }

    #[test]
    #[ignore = "newer: MariaDB 11"]
    fn the_least_login_of_mariadb_11() {
        let test = "the_least_login_of_mariadb_11";
        if !can_be_somebody_else(test) {
            return;
        }
        let Some(programs) = Programs::newer(test) else { return };
        let server = programs.private(&["--log-bin=binlog"]);
        server.make_table();
        let least = configuration(&server, "linux_user = nobody\n").replace("-u root", "-u nobody");
        let site = Site::with(&least);
        server.sql(&site.call(&["privileges", "orders"]).stdout);
        let said = site.json(&["check"]);
        assert_eq!((said.code, said.findings()), (Some(0), Vec::new()), "{}", said.text);
        let said = site.json(&["run", "--", "true"]);
        said.assert_still();
        assert_eq!(said.json["workloads"][0]["point"].as_array().unwrap().len(), 3, "{}", said.text);
    }

    #[test]
    #[ignore = "newer: MariaDB 11"]
    fn the_keeper_of_mariadb_11_is_killed() {
        let Some(programs) = Programs::newer("the_keeper_of_mariadb_11_is_killed") else { return };
        let server = programs.private(&[]);
        server.make_table();
        let site = Site::with(&configuration(&server, ""));
        let writers = server.writers(2);
        site.freeze();
        site.kill_keeper();
        writers.get_on(10);
        site.wait_for_the_guard();
        assert_eq!(site.json(&["thaw"]).code, Some(5));
        assert_eq!(site.json(&["run", "--", "true"]).code, Some(0));
    }
}
