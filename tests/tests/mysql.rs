//! MySQL 9, in both of its ways: writers never stop by themselves, every copy holds what was acknowledged, the wrong way
//! would lose some of it, and nothing is left pending on the server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use stillpoint_tests::comparison::{Window, assert_recovered, assert_same};
use stillpoint_tests::folder;
use stillpoint_tests::mariadb::{MariaDb, Programs};
use stillpoint_tests::missing::can_be_somebody_else;
use stillpoint_tests::program::succeed;
use stillpoint_tests::said::Said;
use stillpoint_tests::site::{Site, recovery_point};
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::volume::Volume;
use stillpoint_tests::writers::Log;
use stillpoint_tests::{free_port, mysql, wait_until};

fn configuration(server: &MariaDb, more: &str) -> String {
    server.configuration(&format!("timeout = 60\n{more}")).replace("[workload]", "[workload orders]")
}

/// As the least login: a user of every machine, whom the socket knows.
fn least(server: &MariaDb) -> String {
    configuration(server, "linux_user = nobody\n").replace("-u root", "-u nobody")
}

/// Where the server was when it was thawed: the end of what the snapshot can hold.
fn at_the_thaw(said: &Said, name: &str) -> String {
    said.kept(name).replace('\n', "")
}

/// What of ours the server has: sessions, and locks that are held or waited for.
fn ours(server: &MariaDb) -> String {
    server.sql(
        "SELECT id, command, state, info FROM information_schema.processlist \
         WHERE info LIKE 'FLUSH TABLES%' OR info LIKE 'LOCK INSTANCE%' OR state IN ('Waiting for global read lock', 'Waiting for backup lock', \
         'Waiting for table flush', 'Waiting for commit lock'); \
         SELECT object_type, lock_type, lock_status FROM performance_schema.metadata_locks \
         WHERE object_type IN ('GLOBAL', 'COMMIT', 'BACKUP LOCK') AND lock_type = 'SHARED';",
    )
}

/// Writes out what the filesystem keeps to itself.
fn sync(volume: &Volume) {
    succeed(Command::new("sync").arg("--file-system").arg(volume.data()), "");
}

/// The tests, by a name that `cargo xtask test --newer` asks for.
mod newer {
    use super::*;

    /// One cycle on a volume: the block image and the snapshot, each opened by a second server; and what comes behind the
    /// snapshot, from the binary log.
    fn recoverable(test: &str, options: &[&str]) {
        let Some(programs) = mysql::programs(test) else { return };
        let Some(volume) = Volume::make(test) else { return };
        programs.fresh(&volume.data().join("mysql"));
        let server = programs.on(&volume.data().join("mysql"), options);
        server.make_table();
        let ipc = volume.data().join("ipc");
        std::fs::create_dir(&ipc).unwrap();
        let site = Site::with(&configuration(&server, &format!("ipc_folder = {}\n", ipc.display())));
        let writers = server.writers(4);
        writers.get_on(20);
        site.freeze();
        let frozen = Instant::now();
        let (image, snapshot) = volume.image_and_snapshot();
        let cut = Instant::now();
        // Nobody waits while it holds.
        writers.get_on(20);
        let thawing = Instant::now();
        let said = site.json(&["thaw"]);
        let thawed = Instant::now();
        writers.get_on(20);
        let log = writers.stop();
        said.assert_recoverable();
        let point = said.point();
        assert!(point["way"].starts_with("LOCK INSTANCE FOR BACKUP: every table is InnoDB"), "{point:?}");
        eprintln!("longest gap of a writer {:?}", log.longest_gap());
        let source = server.data().to_owned();
        drop(server);
        let logs = tempfile::tempdir().unwrap();
        succeed(
            Command::new("sh").arg("-c").arg(format!("cp {}/binlog.0* {}", source.display(), logs.path().display())),
            "",
        );

        let read = |what: &str, data: &Path| {
            let inside = recovery_point(&data.join("ipc"), "orders");
            assert_eq!(
                (&inside["cycle"], &inside["point"]),
                (&said.json["cycle"], &said.json["workloads"][0]["point"])
            );
            let copy = programs.on(&data.join("mysql"), options);
            assert_recovered(what, &log, frozen, cut, &copy.rows());
            roll_forward(&programs, &copy, &said, logs.path());
            assert_recovered(&format!("{what}, rolled forward"), &log, thawing, thawed, &copy.rows());
        };
        read("the snapshot", &snapshot);
        let volume = volume.replaced_by(image);
        read("the block image", &volume.data());
    }

    /// From where the copy itself is, to where the server was at the thaw.
    fn roll_forward(programs: &Programs, copy: &MariaDb, said: &Said, logs: &Path) {
        let point = said.point();
        let (last, stop) = (at_the_thaw(said, "end_file"), at_the_thaw(said, "end_position"));
        let mut read = Command::new(programs.tools().join("mysqlbinlog"));
        read.arg(format!("--stop-position={stop}"));
        // The newest one began with the copy's own start; the one before it ends where the snapshot was cut.
        let list = copy.sql("SHOW BINARY LOGS;");
        let list: Vec<Vec<&str>> = list.lines().map(|l| l.split('\t').collect()).collect();
        let [.., cut, _] = list.as_slice() else { panic!("{list:?}") };
        let (recorded, offset) = (&point["binary log file"], &point["binary log position"]);
        assert_eq!(cut[0], *recorded, "the log was rotated before the point, and not again");
        let number = |text: &str| text.parse::<u64>().unwrap();
        assert!(number(cut[1]) >= number(offset), "the copy ends at {cut:?}, before the point {point:?}");
        let executed = copy.sql("SELECT @@GLOBAL.gtid_executed;").trim().replace("\\n", "");
        let by_gtid = point.get("gtid");
        if let Some(gtid) = by_gtid {
            let within = format!("SELECT GTID_SUBSET('{gtid}', @@GLOBAL.gtid_executed);");
            assert_eq!(copy.sql(&within), "1\n", "the copy has {executed}, and not the point {gtid}");
            let behind = at_the_thaw(said, "end_gtid");
            let within = format!("SELECT GTID_SUBSET(@@GLOBAL.gtid_executed, '{behind}');");
            assert_eq!(copy.sql(&within), "1\n", "the copy has {executed}, more than was there at the thaw {behind}");
            read.arg(format!("--exclude-gtids={executed}"));
        } else {
            read.arg(format!("--start-position={}", cut[1]));
        }
        assert_eq!(last, *recorded, "one log from the point to the thaw");
        let statements = succeed(read.arg(logs.join(last)), "");
        // The session's own settings at the end of the log are ended with it.
        copy.sql(&statements);
        if by_gtid.is_some() {
            let executed = copy.sql("SELECT @@GLOBAL.gtid_executed;").trim().replace("\\n", "");
            assert_eq!(executed, at_the_thaw(said, "end_gtid"), "neither less nor more");
        }
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn nobody_waits_where_all_is_innodbs() {
        recoverable("nobody_waits_where_all_is_innodbs", &[]);
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn nobody_waits_without_gtids_either() {
        recoverable("nobody_waits_without_gtids_either", &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
    }

    /// One cycle on a volume with writers into an InnoDB table, and where asked for into one that is not.
    fn still(test: &str, options: &[&str], others: bool, why: &str) {
        let Some(programs) = mysql::programs(test) else { return };
        let Some(volume) = Volume::make(test) else { return };
        programs.fresh(&volume.data().join("mysql"));
        let server = programs.on(&volume.data().join("mysql"), options);
        server.make_table();
        let mut all = vec![("app.writes", server.writers(4))];
        if others {
            server.sql("CREATE TABLE app.plain (writer INT, sequence BIGINT, KEY (writer, sequence)) ENGINE = MyISAM;");
            all.push(("app.plain", server.writers_into(2, "app.plain")));
        }
        let site = Site::with(&configuration(&server, ""));
        all.iter().for_each(|(_, w)| w.get_on(20));
        let (said, window, (image, snapshot)) = site.while_frozen(|| volume.image_and_snapshot());
        all.iter().for_each(|(_, w)| w.get_on(20));
        let all: Vec<(&str, Log)> = all.into_iter().map(|(table, w)| (table, w.stop())).collect();
        said.assert_still();
        let point = said.point();
        assert!(point["way"].contains("FLUSH TABLES WITH READ LOCK") && point["way"].contains(why), "{point:?}");
        drop(server);
        let read = |what: &str, data: &Path| {
            let copy = programs.on(&data.join("mysql"), options);
            for (table, log) in &all {
                if *table == "app.plain" {
                    // It was open, as after any crash; the rows are whole.
                    copy.sql("REPAIR NO_WRITE_TO_BINLOG TABLE app.plain;");
                }
                assert_same(&format!("{table} in {what}"), log, window, &copy.rows_of(table));
            }
            if let Some(gtid) = point.get("gtid") {
                let executed = copy.sql("SELECT @@GLOBAL.gtid_executed;");
                assert_eq!(executed.trim().replace("\\n", ""), *gtid, "the point is where the copy is");
            }
        };
        read("the snapshot", &snapshot);
        let volume = volume.replaced_by(image);
        read("the block image", &volume.data());
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn writers_wait_where_a_table_is_not_innodbs() {
        still("writers_wait_where_a_table_is_not_innodbs", &[], true, "1 tables are not InnoDB's");
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn writers_wait_where_commits_are_flushed_later() {
        let options = ["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-log-at-timeout=2700", "--sync-binlog=0"];
        still(
            "writers_wait_where_commits_are_flushed_later",
            &options,
            false,
            "innodb_flush_log_at_trx_commit is not 1",
        );
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn commits_in_the_servers_memory_are_waited_for() {
        let options = ["--innodb-flush-log-at-trx-commit=0", "--disable-log-bin"];
        still(
            "commits_in_the_servers_memory_are_waited_for",
            &options,
            false,
            "innodb_flush_log_at_trx_commit is not 1",
        );
    }

    /// Why: with the lock that suffices for InnoDB, rows of other tables are missing in the copy.
    #[test]
    #[ignore = "newer: MySQL 9"]
    fn the_backup_lock_alone_would_lose_rows_of_other_tables() {
        let test = "the_backup_lock_alone_would_lose_rows_of_other_tables";
        let Some(programs) = mysql::programs(test) else { return };
        let Some(volume) = Volume::make(test) else { return };
        programs.fresh(&volume.data().join("mysql"));
        let server = programs.on(&volume.data().join("mysql"), &[]);
        server.make_table();
        server.sql("CREATE TABLE app.plain (writer INT, sequence BIGINT, KEY (writer, sequence)) ENGINE = MyISAM;");
        sync(&volume);
        let writers = server.writers_into(2, "app.plain");
        writers.get_on(100);
        let lock = server.hold("LOCK INSTANCE FOR BACKUP");
        let frozen = Instant::now();
        let image = volume.block_image();
        drop(lock);
        let log = writers.stop();
        drop(server);
        let volume = volume.replaced_by(image);
        let copy = programs.on(&volume.data().join("mysql"), &[]);
        copy.try_sql("REPAIR NO_WRITE_TO_BINLOG TABLE app.plain;");
        let rows = copy.try_sql("SELECT writer, sequence FROM app.plain;").stdout.lines().count();
        let before = log.commits.iter().filter(|c| c.acknowledged.is_some_and(|a| a < frozen)).count();
        assert!(rows < before, "{rows} of {before} acknowledged rows are in the copy: the other way is not needed");
    }

    /// A server whose data and redo log lie on two volumes.
    struct Apart {
        data: Volume,
        redo: Volume,
    }

    impl Apart {
        fn make(test: &str, programs: &Programs) -> Option<Apart> {
            let (data, redo) = (Volume::make(test)?, Volume::make(test)?);
            programs.fresh(&data.data().join("mysql"));
            let log = redo.data().join("log");
            succeed(Command::new("install").args(["-d", "-o", "mysql"]).arg(&log), "");
            succeed(Command::new("mv").arg(data.data().join("mysql/#innodb_redo")).arg(&log), "");
            Some(Apart { data, redo })
        }

        fn try_start(&self, programs: &Programs) -> Result<MariaDb, String> {
            let log = format!("--innodb-log-group-home-dir={}", self.redo.data().join("log").display());
            programs.try_on(&self.data.data().join("mysql"), &[&log])
        }
    }

    /// Data first, then, when InnoDB has written its pages and needs the log of them no more, the redo log.
    fn one_after_the_other(apart: &Apart, server: &MariaDb) -> [stillpoint_tests::volume::BlockImage; 2] {
        let lsn = |name: &str| {
            let text =
                format!("SELECT variable_value FROM performance_schema.global_status WHERE variable_name = '{name}';");
            server.sql(&text).trim().parse::<u64>().unwrap()
        };
        let data = apart.data.block_image();
        let now = lsn("Innodb_redo_log_current_lsn");
        wait_until("a checkpoint is made", || lsn("Innodb_redo_log_checkpoint_lsn") >= now);
        [data, apart.redo.block_image()]
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn volumes_one_after_the_other_need_innodb_at_rest() {
        let test = "volumes_one_after_the_other_need_innodb_at_rest";
        let Some(programs) = mysql::programs(test) else { return };
        let Some(apart) = Apart::make(test, &programs) else { return };
        let server = apart.try_start(&programs).unwrap();
        server.make_table();
        let more = "snapshot = per-volume\nstall_budget = 30\n";
        let site = Site::with(&configuration(&server, more));
        let writers = server.writers(4);
        writers.get_on(20);
        let (said, window, [data, redo]) = site.while_frozen(|| one_after_the_other(&apart, &server));
        writers.get_on(20);
        let log = writers.stop();
        eprintln!("longest gap of a writer {:?}", log.longest_gap());
        said.assert_still();
        assert!(said.point()["way"].contains("InnoDB must have written all of its pages"), "{}", said.text);
        drop(server);
        let apart = Apart { data: apart.data.replaced_by(data), redo: apart.redo.replaced_by(redo) };
        assert_same("the copy", &log, window, &apart.try_start(&programs).unwrap().rows());
    }

    /// Why: writes stop, and InnoDB does not.
    #[test]
    #[ignore = "newer: MySQL 9"]
    fn the_read_lock_alone_would_lose_pages_of_volumes_one_after_the_other() {
        let test = "the_read_lock_alone_would_lose_pages_of_volumes_one_after_the_other";
        let Some(programs) = mysql::programs(test) else { return };
        let Some(apart) = Apart::make(test, &programs) else { return };
        let server = apart.try_start(&programs).unwrap();
        server.make_table();
        let writers = server.writers(4);
        writers.get_on(200);
        let lock = server.hold("FLUSH TABLES WITH READ LOCK");
        let frozen = Instant::now();
        sync(&apart.data);
        sync(&apart.redo);
        let [data, redo] = one_after_the_other(&apart, &server);
        let window = Window { frozen, thaw_asked: Instant::now() };
        drop(lock);
        writers.get_on(20);
        let log = writers.stop();
        drop(server);
        let apart = Apart { data: apart.data.replaced_by(data), redo: apart.redo.replaced_by(redo) };
        // It does not even start, or is not whole, or lacks rows.
        let Ok(copy) = apart.try_start(&programs) else { return };
        let checked = copy.try_sql("CHECK TABLE app.writes EXTENDED;").stdout;
        if checked.trim_end().ends_with("status\tOK") {
            let lost = stillpoint_tests::comparison::compare(&log, window, &copy.rows()).missing;
            assert!(!lost.is_empty(), "the copy is whole: the other way is not needed");
        }
    }

    /// Files that are copied one after the other hold no instant: the verdict says so, whatever was held meanwhile. And this
    /// copy, taken as if it could be believed, has lost its data.
    #[test]
    #[ignore = "newer: MySQL 9"]
    fn a_copy_of_files_is_never_called_consistent() {
        let test = "a_copy_of_files_is_never_called_consistent";
        let Some(programs) = mysql::programs(test) else { return };
        let small = ["--innodb-redo-log-capacity=8M"];
        let server = programs.private(&small);
        server.make_table();
        server.sql("CREATE TABLE app.big (id INT PRIMARY KEY, text LONGBLOB) ENGINE = InnoDB;");
        let site = Site::with(&configuration(&server, "snapshot = files\n"));
        let told = site.json(&["check"]).findings();
        assert!(told.iter().any(|f| f.contains("the verdict will be crash-consistent")), "{told:?}");
        let said = site.json(&["run", "--", "true"]);
        said.assert_crash_consistent();

        let site = Site::with(&configuration(&server, ""));
        site.freeze();
        let copy = folder::with_mode(0o755);
        let data = copy.path().join("data");
        succeed(Command::new("install").args(["-d", "-o", "mysql", "-g", "mysql"]).arg(&data), "");
        let part = |which: &str| folder::copy_those(which, server.data(), &data);
        part("'#innodb_redo'");
        // More than the redo log holds: what it held is overwritten, and pages are written out.
        for id in 1..=24 {
            server.sql(&format!("INSERT INTO app.big VALUES ({id}, REPEAT(HEX(RANDOM_BYTES(16)), 32768));"));
        }
        part("'#innodb_redo') ;; *");
        site.json(&["thaw"]).assert_recoverable();
        let lost = match programs.try_on(&data, &small) {
            Err(why) => why,
            Ok(server) => format!("{}\n{}", server.try_sql("CHECK TABLE app.big, app.writes;").stdout, server.errors()),
        };
        let words = ["is in the future", "may be corrupt", "is now corrupt"];
        assert!(words.iter().any(|w| lost.contains(w)), "the copy is whole, so this shows nothing: {lost}");
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn the_least_login_suffices_and_what_it_lacks_is_told() {
        let test = "the_least_login_suffices_and_what_it_lacks_is_told";
        if !can_be_somebody_else(test) {
            return;
        }
        let Some(programs) = mysql::programs(test) else { return };
        let server = programs.private(&[]);
        server.make_table();
        let site = Site::with(&least(&server));
        let printed = site.call(&["privileges", "orders"]);
        assert_eq!(printed.code, Some(0), "{printed:?}");
        // As it was printed, by the administrator.
        server.sql(&printed.stdout);
        let said = site.json(&["check"]);
        let [way] = said.findings().try_into().unwrap_or_else(|f| panic!("{f:?}"));
        assert!(said.code == Some(0) && way.starts_with("note: writers will not be stopped"), "{}", said.text);
        let said = site.json(&["run", "--", "true"]);
        said.assert_recoverable();
        assert!(said.point().contains_key("gtid"), "{}", said.text);

        // It sees that there is a table, and cannot read it.
        server.sql("CREATE TABLE app.plain (a INT) ENGINE = MyISAM;");
        let said = site.json(&["run", "--", "true"]);
        said.assert_still();
        server.sql("DROP TABLE app.plain; GRANT INSERT ON app.* TO nobody@localhost; GRANT SHUTDOWN ON *.* TO nobody@localhost;");
        let told = site.json(&["check"]).findings().join("\n");
        for words in ["may do more than it needs to", "INSERT ON app.*", "SHUTDOWN ON *.*"] {
            assert!(told.contains(words), "{words}: {told}");
        }
        server.sql(
            "REVOKE INSERT ON app.* FROM nobody@localhost; REVOKE SHUTDOWN, SHOW VIEW ON *.* FROM nobody@localhost;",
        );
        let said = site.json(&["run", "--", "true"]);
        assert_eq!((said.code, &said.json["kind"]), (Some(0), &"still".into()), "it cannot know: {}", said.text);
        assert!(said.point()["way"].contains("may not see all tables"), "{}", said.text);

        for (privilege, on) in [
            ("BACKUP_ADMIN", "*.*"),
            ("RELOAD", "*.*"),
            ("PROCESS", "*.*"),
            ("SELECT", "performance_schema.log_status"),
        ] {
            server.sql(&format!("REVOKE {privilege} ON {on} FROM nobody@localhost;"));
            let said = site.json(&["check"]);
            assert_eq!(said.code, Some(4), "{privilege}: {}", said.text);
            let table = on.rsplit('.').next().filter(|t| *t != "*").unwrap_or_default();
            assert!(said.text.contains(privilege) && said.text.contains(table), "{privilege}: {}", said.text);
            assert!(said.text.contains("stillpoint privileges orders"), "{privilege}: {}", said.text);
            server.sql(&format!("GRANT {privilege} ON {on} TO nobody@localhost;"));
        }
    }

    /// By the login file, which no other process sees.
    #[test]
    #[ignore = "newer: MySQL 9"]
    fn a_login_with_a_password() {
        let test = "a_login_with_a_password";
        let Some(programs) = mysql::programs(test) else { return };
        let server = programs.private(&[]);
        server.sql("CREATE USER backup@localhost IDENTIFIED WITH caching_sha2_password BY 'hunter2#x'; GRANT ALL ON *.* TO backup@localhost;");
        let site = Site::with(&configuration(&server, "").replace("-u root", "-u backup"));
        assert_eq!(site.json(&["check"]).faults(), ["SP-DB-001"], "no password");
        let login = format!("-u backup --password='hunter2#x' -S {}", server.socket().display());
        let credential = site.credential(&login);
        let plain = configuration(&server, "");
        let plain = plain.lines().filter(|l| !l.starts_with("credString")).fold(String::new(), |s, l| s + l + "\n");
        site.configure(&format!("{plain}credential_file = {}\n", credential.display()));
        let said = site.json(&["run", "--", "true"]);
        said.assert_recoverable();
        assert!(!said.text.contains("hunter2"));
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn the_keeper_is_killed() {
        let test = "the_keeper_is_killed";
        let Some(programs) = mysql::programs(test) else { return };
        let server = programs.private(&[]);
        server.make_table();
        server.sql("CREATE TABLE app.plain (a INT) ENGINE = MyISAM;");
        let site = Site::with(&configuration(&server, ""));
        let writers = server.writers(2);
        site.freeze();
        let held = writers.log().acknowledged();
        assert!(!ours(&server).is_empty() && writers.log().acknowledged() == held, "writers stand still");
        site.kill_keeper();
        writers.get_on(10);
        site.wait_for_the_guard();
        assert_eq!(site.json(&["thaw"]).code, Some(5));
        assert_eq!(ours(&server), "");
        let said = site.json(&["run", "--", "true"]);
        assert_eq!(said.code, Some(0), "{}", said.text);
    }

    /// The keeper is killed while its lock is waited for: the server knows nothing of that, and goes on waiting, with
    /// everybody behind it. Recovery tells it.
    #[test]
    #[ignore = "newer: MySQL 9"]
    fn a_lock_that_is_waited_for_does_not_outlive_recovery() {
        let test = "a_lock_that_is_waited_for_does_not_outlive_recovery";
        let Some(programs) = mysql::programs(test) else { return };
        let server = programs.private(&[]);
        server.make_table();
        server.sql("CREATE TABLE app.plain (a INT) ENGINE = MyISAM;");
        let site = Site::with(&configuration(&server, "stall_budget = 50\n"));
        let writers = server.writers(2);
        let other = server.hold("LOCK TABLES app.plain WRITE");
        let waiting = "SELECT id FROM information_schema.processlist WHERE info LIKE 'FLUSH TABLES%';";
        let freezing = site.start(&["freeze"]);
        wait_until("the freeze waits", || !server.sql(waiting).is_empty());
        site.kill_keeper();
        let said = Said::of(freezing.end());
        said.assert_fault(5, "SP-CYCLE-011");
        assert_eq!(ours(&server), "", "{}", said.text);
        writers.get_on(5);
        drop(other);
    }

    /// It is not waited for with the lock, so nobody waits for us; and a table that it reads stays open to everybody.
    #[test]
    #[ignore = "newer: MySQL 9"]
    fn a_long_statement_and_an_idle_transaction_stop_nobody() {
        a_long_statement("a_long_statement_and_an_idle_transaction_stop_nobody", Duration::from_secs(3));
    }

    /// While it waits for a statement to end, nothing of it stands still yet: nor does anybody beside it.
    #[test]
    #[ignore = "newer: MySQL 9"]
    fn nobody_else_stands_still_while_it_waits_for_a_long_statement() {
        let test = "nobody_else_stands_still_while_it_waits_for_a_long_statement";
        let Some(programs) = mysql::programs(test) else { return };
        let server = programs.private(&[]);
        server.make_table();
        server.sql("CREATE TABLE app.plain (a INT) ENGINE = MyISAM;");
        let folder = folder::with_mode(0o755);
        let file = folder.path().join("beside.db");
        sqlite::make(&file, Journal::Wal);
        let budget = "stall_budget = 40\n";
        let beside = format!("[workload beside]\nworkload_name = sqlite\ndbnames = {}\n{budget}", file.display());
        let site = Site::with(&format!("{}{beside}", configuration(&server, budget)));
        let writers = [server.writers(2), sqlite::writers(&file, 2)];
        writers.iter().for_each(|w| w.get_on(5));
        let statement = server.busy_with("SELECT SLEEP(12)");
        let said = site.json(&["run", "--", "true"]);
        said.assert_still();
        assert_eq!(statement.end().code, Some(0));
        let waited = said.workload("orders")["phases"]["freeze_us"].as_u64().unwrap();
        let stood = said.workload("beside")["standstill_us"].as_u64().unwrap();
        assert!(stood < waited / 2, "it stood still for {stood} µs, of {waited}: {}", said.text);
        for (writers, which) in writers.into_iter().zip(["MySQL", "SQLite"]) {
            let gap = writers.stop().longest_gap();
            assert!(gap < Duration::from_micros(waited / 2), "a writer of {which} waited {gap:?}, of {waited} µs");
        }
    }

    /// What it has looked at is old when it has waited for others, and is looked at again.
    #[test]
    #[ignore = "newer: MySQL 9"]
    fn the_lock_is_not_sent_behind_what_began_while_others_were_waited_for() {
        let test = "the_lock_is_not_sent_behind_what_began_while_others_were_waited_for";
        let Some(programs) = mysql::programs(test) else { return };
        let [first, other] = [(), ()].map(|()| {
            let server = programs.private(&[]);
            server.make_table();
            server.sql("CREATE TABLE app.plain (a INT) ENGINE = MyISAM;");
            server
        });
        first.sql("CREATE TABLE app.seen (a INT PRIMARY KEY); INSERT INTO app.seen VALUES (1);");
        let both = [&first, &other].map(|s| configuration(s, "stall_budget = 8\n"));
        let site = Site::with(&format!("{}{}", both[0], both[1].replace("[workload orders]", "[workload other]")));
        let waited_for = other.busy_with("SELECT SLEEP(3600)");
        let freezing = site.start(&["freeze"]);
        // Once in prepare; and then when nothing is in the lock's way.
        let looked = "SELECT SUM(count_star) FROM performance_schema.events_statements_summary_by_digest \
                      WHERE digest_text LIKE 'SET SESSION `lock_wait_timeout`%';";
        wait_until("it has looked", || first.sql(looked).trim() == "2");
        let statement = first.busy_with("SELECT SLEEP(3600) FROM app.seen FOR SHARE");
        let id = "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%';";
        other.sql(&format!("KILL QUERY {};", other.sql(id).trim()));
        let said = Said::of(freezing.end());
        waited_for.end();
        said.assert_fault(4, "SP-DB-014");
        assert!(said.text.contains("it was not sent"), "{}", said.text);
        for server in [&first, &other] {
            assert_eq!(ours(server), "", "{}", said.text);
        }
        // The table is open to everybody.
        assert_eq!(first.sql("SELECT COUNT(*) FROM app.seen;"), "1\n");
        drop(statement);
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn a_table_that_somebody_has_locked_costs_the_stall_budget_and_no_more() {
        let test = "a_table_that_somebody_has_locked_costs_the_stall_budget_and_no_more";
        let Some(programs) = mysql::programs(test) else { return };
        let server = programs.private(&[]);
        server.make_table();
        server.sql("CREATE TABLE app.plain (a INT) ENGINE = MyISAM;");
        let site = Site::with(&configuration(&server, "stall_budget = 2\n"));
        let other = server.hold("LOCK TABLES app.plain WRITE");
        let told = site.json(&["check"]).findings().join("\n");
        assert!(told.contains("holds LOCK TABLES"), "{told}");
        let writers = server.writers(2);
        writers.get_on(5);
        let said = site.json(&["freeze"]);
        assert_eq!(said.code, Some(4), "{}", said.text);
        assert_eq!(ours(&server), "", "{}", said.text);
        writers.get_on(5);
        let gap = writers.stop().longest_gap();
        assert!(gap < Duration::from_millis(2600), "a writer waited {gap:?}: {}", said.text);
        drop(other);
        assert_eq!(site.json(&["run", "--", "true"]).code, Some(0));
    }

    /// The backup lock waits for changes of schemas, within its bound, and nobody but other changes waits behind it.
    #[test]
    #[ignore = "newer: MySQL 9"]
    fn a_change_of_a_schema_that_does_not_end() {
        let test = "a_change_of_a_schema_that_does_not_end";
        let Some(programs) = mysql::programs(test) else { return };
        let server = programs.private(&[]);
        server.make_table();
        server.sql("CREATE TABLE app.other (a INT PRIMARY KEY);");
        let site = Site::with(&configuration(&server, "stall_budget = 1\n"));
        let writers = server.writers(2);
        // It waits for this reader, and holds what we need.
        let reader = server.hold("BEGIN; SELECT * FROM app.other");
        let text = "ALTER TABLE app.other ADD COLUMN b INT";
        let change = server.busy_with(text);
        let state = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'ALTER%' AND state LIKE 'Waiting%';";
        wait_until("the change waits", || !server.sql(state).is_empty());
        let said = site.json(&["freeze"]);
        said.assert_fault(4, "SP-DB-014");
        assert!(said.text.contains("somebody changes a schema"), "{}", said.text);
        drop(reader);
        assert_eq!(change.end().code, Some(0));
        writers.get_on(5);
        let gap = writers.stop().longest_gap();
        assert!(gap < Duration::from_millis(900), "a writer waited {gap:?}");
        assert_eq!(ours(&server), "");
        assert_eq!(site.json(&["run", "--", "true"]).code, Some(0));
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn a_session_that_somebody_ended_is_not_called_consistent() {
        let test = "a_session_that_somebody_ended_is_not_called_consistent";
        let Some(programs) = mysql::programs(test) else { return };
        let server = programs.private(&[]);
        let site = Site::with(&configuration(&server, ""));
        site.freeze();
        let holder = "SELECT t.processlist_id FROM performance_schema.metadata_locks AS m JOIN performance_schema.threads AS t \
                      ON t.thread_id = m.owner_thread_id WHERE m.object_type = 'BACKUP LOCK' AND m.lock_type = 'SHARED';";
        server.sql(&format!("KILL {};", server.sql(holder).trim()));
        let said = site.json(&["thaw"]);
        said.assert_crash_consistent();
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn a_replica_is_frozen_as_one() {
        let test = "a_replica_is_frozen_as_one";
        let Some(programs) = mysql::programs(test) else { return };
        let port = free_port();
        let port_option = format!("--port={port}");
        let primary =
            programs.private(&["--skip-networking=0", "--bind-address=127.0.0.1", &port_option, "--server-id=1"]);
        primary.sql("CREATE USER r@'127.0.0.1' IDENTIFIED BY 'x'; GRANT REPLICATION SLAVE ON *.* TO r@'127.0.0.1';");
        primary.make_table();
        let replica = programs.private(&["--server-id=2", "--super-read-only=1"]);
        replica.sql(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'r', \
             SOURCE_PASSWORD = 'x', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; START REPLICA;"
        ));
        let follows = || replica.try_sql("SELECT COUNT(*) > 10 FROM app.writes;").stdout == "1\n";
        let writers = primary.writers(1);
        wait_until("the replica follows", follows);
        let site = Site::with(&configuration(&replica, "role = slave\nenforceSlaveOnly = 1\n"));
        let said = site.json(&["run", "--", "true"]);
        said.assert_recoverable();
        assert_eq!(said.json["workloads"][0]["role"], "replica", "{}", said.text);
        let point = said.point();
        assert!(point["replication"].contains("relay_log_file") && point.contains_key("gtid"), "{point:?}");
        replica.sql("STOP REPLICA;");
        assert_eq!(site.json(&["check"]).json["workloads"][0]["role"], "replica", "one that waits is still one");
        site.configure(&configuration(&primary, "role = slave\nenforceSlaveOnly = 1\n"));
        let said = site.json(&["run", "--", "true"]);
        assert_eq!(said.faults(), ["SP-ROLE-001"], "{}", said.text);
        writers.get_on(5);
    }

    #[test]
    #[ignore = "newer: MySQL 9"]
    fn check_tells_what_would_make_a_copy_worthless() {
        let test = "check_tells_what_would_make_a_copy_worthless";
        let Some(programs) = mysql::programs(test) else { return };
        let server = programs.private(&["--disable-log-bin", "--innodb-doublewrite=OFF"]);
        let site = Site::with(&configuration(&server, ""));
        let told = site.json(&["check"]).findings().join("\n");
        for words in ["warning: innodb_doublewrite = OFF", "note: the binary log is off"] {
            assert!(told.contains(words), "{words}: {told}");
        }
        server.sql("ALTER INSTANCE DISABLE INNODB REDO_LOG;");
        let said = site.json(&["run", "--", "true"]);
        assert!(said.code == Some(4) && said.text.contains("ENABLE INNODB REDO_LOG"), "{}", said.text);
        drop(server);
        let server = programs.private(&["--performance-schema=OFF"]);
        site.configure(&configuration(&server, ""));
        let said = site.json(&["run", "--", "true"]);
        assert!(said.code == Some(4) && said.text.contains("performance_schema is off"), "{}", said.text);
    }
}

/// Debian's `mysql` is MariaDB's client, and reaches MariaDB.
#[test]
fn mariadb_is_no_mysql() {
    let Some(other) = MariaDb::private("mariadb_is_no_mysql", &[]) else { return };
    let socket = other.socket();
    let site =
        Site::with(&format!("[workload]\nworkload_name = mysql\ncredString = -u root -S {}\n", socket.display()));
    let said = site.json(&["check"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("workload_name = mariadb"), "{}", said.text);
}

/// A statement that has run for this long, and a transaction that has been idle for as long: in both ways.
fn a_long_statement(test: &str, age: Duration) {
    let Some(programs) = mysql::programs(test) else { return };
    let server = programs.private(&[]);
    server.make_table();
    let site = Site::with(&configuration(&server, "stall_budget = 2\n"));
    server.sql("CREATE TABLE app.seen (a INT PRIMARY KEY); INSERT INTO app.seen VALUES (1), (2);");
    let idle = server.hold("BEGIN; INSERT INTO app.seen VALUES (3)");
    let statement = server.busy_with("SELECT SLEEP(3600) FROM app.seen FOR SHARE");
    server.wait_for_the_age_of_both(age);
    // Now: what a disk did to them in five minutes is no matter.
    let writers = server.writers(2);
    writers.get_on(5);
    let told = site.json(&["check"]).findings().join("\n");
    for words in ["has been running one statement for", "has a transaction open for"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // Where all is InnoDB's, it is no hindrance.
    let said = site.json(&["run", "--", "true"]);
    said.assert_recoverable();
    let gap = writers.log().longest_gap();
    assert!(gap < Duration::from_millis(1000), "a writer waited {gap:?}");

    server.sql("CREATE TABLE app.plain (a INT) ENGINE = MyISAM;");
    let told = site.json(&["check"]).findings().join("\n");
    assert!(told.contains("would wait behind it"), "{told}");
    let said = site.json(&["run", "--", "true"]);
    said.assert_fault(4, "SP-DB-014");
    assert!(said.text.contains("it was not sent"), "{}", said.text);
    assert_eq!(ours(&server), "", "{}", said.text);
    // Who reads the same table does not wait either.
    assert_eq!(server.sql("SELECT COUNT(*) FROM app.seen;"), "2\n");
    writers.get_on(5);
    let gap = writers.stop().longest_gap();
    assert!(gap < Duration::from_millis(1000), "a writer waited {gap:?}");
    drop((statement, idle));
}

mod five_minutes {
    use super::*;

    /// `cargo test -p stillpoint-tests --test mysql -- --ignored five_minutes`
    #[test]
    #[ignore = "MySQL 9, and it takes five minutes"]
    fn a_statement_and_an_idle_transaction() {
        a_long_statement("a_statement_and_an_idle_transaction", Duration::from_secs(300));
    }
}
