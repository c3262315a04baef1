//! What `stillpoint recovery` prints when somebody has laid a trap: in a database, in a record, in a path. And what it says
//! where nothing can be printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use stillpoint_tests::folder;
use stillpoint_tests::missing::is_root;
use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use tempfile::TempDir;

/// One SQLite database, and Stillpoint configured for it.
fn one_database(journal: Journal) -> (TempDir, PathBuf, Site) {
    let own = folder::with_mode(0o755);
    let file = own.path().join("app.db");
    sqlite::make(&file, journal);
    let site = Site::with(&format!("[workload]\nworkload_name = sqlite\ndbnames = {}\ntimeout = 60\n", file.display()));
    (own, file, site)
}

/// Two of them, `app` and `orders`: where the first cannot be frozen, the other is all the same. Gives the file of the first.
fn two_databases() -> (TempDir, PathBuf, Site) {
    let own = folder::with_mode(0o755);
    let [app, orders] = ["app", "orders"].map(|name| own.path().join(name).with_extension("db"));
    let section = |name: &str, file: &Path, budget: u32| {
        format!(
            "[workload {name}]\nworkload_name = sqlite\ndbnames = {}\non_failure = continue\nstall_budget = {budget}\n\
             timeout = 60\n",
            file.display()
        )
    };
    for file in [&app, &orders] {
        sqlite::make(file, Journal::Wal);
    }
    let site = Site::with(&[section("app", &app, 2), section("orders", &orders, 5)].concat());
    (own, app, site)
}

/// Comments as they are before they are broken into lines.
fn unbroken(printed: &str) -> String {
    printed.replace("\n# ", " ")
}

/// SQLite's own client does what a file holds. So the printed commands open it as its owner.
#[test]
fn a_database_that_holds_a_command_is_not_opened_by_root() {
    if !is_root("a_database_that_holds_a_command_is_not_opened_by_root", "what is printed is for root") {
        return;
    }
    let own = folder::with_mode(0o755);
    let data = own.path().join("data");
    succeed(Command::new("install").args(["-d", "-o", "nobody"]).arg(&data), "");
    let (file, trap, caught) = (data.join("app.db"), data.join("trap.sh"), data.join("caught"));
    std::fs::write(&trap, format!("#!/bin/sh\nid -u >{}\n", caught.display())).unwrap();
    std::fs::set_permissions(&trap, PermissionsExt::from_mode(0o755)).unwrap();
    let table = format!(
        "PRAGMA ignore_check_constraints = 1;\nCREATE TABLE t (a CHECK (edit(a, '{}') IS NOT NULL));\n\
         INSERT INTO t VALUES ('x');\n",
        trap.display()
    );
    succeed(Command::new("sqlite3").arg(&file), &table);
    succeed(Command::new("chown").args(["--recursive", "nobody"]).arg(&data), "");
    let site = Site::with(&format!(
        "[workload]\nworkload_name = sqlite\nlinux_user = nobody\ndbnames = {}\ntimeout = 60\n",
        file.display()
    ));
    let mounted = own.path().join("mounted");
    let below = mounted.join(data.strip_prefix("/").unwrap());
    std::fs::create_dir_all(below.parent().unwrap()).unwrap();
    let said = site.json(&["run", "--", "cp", "-a", data.to_str().unwrap(), below.to_str().unwrap()]);
    said.assert_still();
    assert!(!caught.exists(), "a cycle has opened it so that it acts");
    std::fs::remove_file(&file).unwrap();
    let beside = own.path().join("beside");
    for (route, more) in [("attached-disks", vec![]), ("scratch", vec!["--folder", beside.to_str().unwrap()])] {
        let mut asked = vec!["recovery", "--route", route, "--snapshot", mounted.to_str().unwrap()];
        asked.extend(more);
        let printed = site.call(&asked);
        assert_eq!(printed.code, Some(0), "{}", printed.text());
        let ended = succeed(Command::new("sh").arg("-s"), &printed.stdout);
        assert!(ended.contains("ok"), "{ended}");
        let user = std::fs::read_to_string(&caught).unwrap_or_default();
        assert_eq!(user, "65534\n", "{route}: as whom it was opened");
        std::fs::remove_file(&caught).unwrap();
    }
    assert!(file.exists() && below.join("app.db").exists());
}

/// What a record from a file says is printed, and nobody vouches for it; unless it would hide something.
#[test]
fn a_record_from_a_file_is_told_from_ones_own() {
    let (own, _, site) = one_database(Journal::Wal);
    let said = site.json(&["run", "--", "true"]);
    said.assert_still();
    let warning = "NOBODY VOUCHES FOR THESE COMMANDS";
    assert!(!site.call(&["recovery"]).stdout.contains(warning));

    let record = own.path().join("verdict.json");
    let print = |verdict: &Value| {
        std::fs::write(&record, verdict.to_string()).unwrap();
        site.call(&["recovery", "--record", record.to_str().unwrap()])
    };
    let whole = print(&said.json);
    assert_eq!((whole.code, whole.stdout.contains(warning)), (Some(0), true), "{}", whole.text());
    let change = |pointer: &str, value: Value| {
        let mut changed = said.json.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        print(&changed)
    };
    let (run, data) = ("/workloads/0/recovery/steps/1/run", "/workloads/0/data/0");
    for (pointer, value, id) in [
        (run, "id >/tmp/x;\u{1b}[2K\rls -l /srv", "SP-RECOVERY-007"),
        (run, "true\u{200b}", "SP-RECOVERY-007"),
        (run, "ls '{data}'", "SP-RECOVERY-004"),
        (data, "/srv/a/../../etc", "SP-RECOVERY-007"),
        (data, "srv/a", "SP-RECOVERY-007"),
    ] {
        let refused = change(pointer, json!(value));
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{value:?}");
        assert!(refused.stderr.contains(id), "{value:?}: {}", refused.stderr);
    }
}

/// The newest cycle is often the one that failed. What is printed is of the newest that is of use, and says so.
#[test]
fn the_cycle_that_is_recovered_is_one_of_which_there_is_a_snapshot() {
    let (_own, file, site) = one_database(Journal::Wal);
    let refused = site.call(&["recovery"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("no cycle is recorded"), "{}", refused.text());
    let first = site.json(&["run", "--", "true"]);
    let second = site.json(&["run", "--", "true"]);
    let failed = site.json(&["run", "--", "false"]);
    assert_eq!((failed.code, &failed.json["exit"]), (Some(8), &"command-failed".into()), "{}", failed.text);
    let lock = sqlite::lock(&file);
    site.add_to_configuration("stall_budget = 1\n");
    let refused = site.json(&["run", "--", "true"]);
    refused.assert_failed();
    drop(lock);

    let printed = site.call(&["recovery"]).stdout;
    assert!(printed.contains(&format!("cycle {} ", second.cycle())), "{printed}");
    for (said, why) in [(&refused, "was not frozen"), (&failed, "command failed")] {
        let line = printed.lines().find(|l| l.contains(said.cycle())).unwrap_or_default();
        assert!(line.contains("passed over") && line.contains(why), "{printed}");
    }
    // Logs lead forward only.
    let older = site.call(&["recovery", "--to", "2000-01-01T00:00:00Z"]);
    assert!(older.code == Some(2) && older.stderr.contains("no cycle is of use"), "{}", older.text());
    let none = site.call(&["recovery", refused.cycle()]);
    assert!(none.code == Some(2) && none.stderr.contains("nothing can be printed for cycle"), "{}", none.text());
    let doubtful = site.call(&["recovery", failed.cycle()]);
    assert!(doubtful.code == Some(0) && doubtful.stdout.contains("see whether there is one at all"));

    let list = site.call(&["record", "list"]).stdout;
    let order: Vec<&str> = list.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(order, [refused.cycle(), failed.cycle(), second.cycle(), first.cycle()], "{list}");

    // Why it failed is told with the entries, in the words of `run`.
    let why = refused.json["workloads"][0]["faults"][0]["what"].as_str().unwrap();
    let shown = site.call(&["record", "show", refused.cycle()]);
    assert!(shown.code == Some(0) && shown.stdout.contains(why), "{why}: {}", shown.text());
    let shown = site.json(&["record", "show", refused.cycle()]);
    assert_eq!(shown.json["record"]["workloads"], refused.json["workloads"], "{}", shown.text);
}

/// Whoever was to cut the snapshot was ended: nobody knows whether there is one, and of when.
#[test]
fn a_cycle_that_was_given_up_is_passed_over() {
    let (_own, _, site) = one_database(Journal::Wal);
    let older = site.json(&["run", "--", "true"]);
    // A signal to the command that runs it, as from a shell of whoever ends it.
    let ended = site.json(&["run", "--", "sh", "-c", "kill -TERM $PPID; exec sleep 60"]);
    let by = ended.json["released_by"].as_str().unwrap();
    assert!(by.contains("gave the snapshot up"), "{}", ended.text);

    let printed = unbroken(&site.call(&["recovery"]).stdout);
    assert!(printed.contains(&format!("cycle {} ", older.cycle())), "{printed}");
    let passed = format!("passed over: {}, which was thawed by {by}, before anybody said", ended.cycle());
    assert!(printed.contains(&passed), "{printed}");
    let named = site.call(&["recovery", ended.cycle()]);
    assert!(named.code == Some(0) && unbroken(&named.stdout).contains("and of when."), "{}", named.text());

    let list = site.call(&["record", "list"]).stdout;
    let line = |id: &str| list.lines().find(|line| line.contains(id)).unwrap_or_default();
    assert!(line(ended.cycle()).contains(&format!(", thawed by {by}")), "{list}");
    assert!(!line(older.cycle()).contains("thawed by"), "{list}");
    let list = site.json(&["record", "list"]);
    assert_eq!(list.json["cycles"][0]["released_by"], by, "{}", list.text);
}

/// A machine with one database that has logs and one that has none can be asked for all at once.
#[test]
fn a_database_without_logs_leads_to_the_snapshot() {
    let (_own, _, site) = one_database(Journal::Wal);
    let said = site.json(&["run", "--", "true"]);
    let warning = "IT HAS NO LOG TO FOLLOW";
    for (to, warned) in [("latest", true), ("2999-01-01T00:00:00Z", true), ("recorded", false)] {
        let printed = site.call(&["recovery", "--to", to]);
        assert_eq!((printed.code, printed.stdout.contains(warning)), (Some(0), warned), "{to}: {}", printed.text());
    }
    let of = format!("the snapshot itself, of {}, and no further", said.json["frozen_at"].as_str().unwrap());
    let printed = unbroken(&site.call(&["recovery", "--to", "latest"]).stdout);
    assert!(printed.contains(&of), "{of}: {printed}");
    let printed = site.json(&["recovery", "--to", "latest"]);
    assert_eq!(printed.json["recovery"][0]["follows_logs"], false, "{}", printed.text);
    assert!(!site.call(&["recovery"]).stdout.contains(warning));
}

/// What lies before a gap in the logs can be had, and only that.
#[test]
fn logs_with_a_gap_are_followed_up_to_it() {
    let (own, _, site) = one_database(Journal::Wal);
    let mut verdict = site.json(&["run", "--", "true"]).json;
    // As a module whose database has logs would have it.
    verdict["workloads"][0]["point"] = json!([{ "name": "log", "value": "b.000001" }]);
    verdict["workloads"][0]["recovery"] = json!({
        "time": "%Y", "first_log": "log", "steps": [{ "say": "These.", "run": "cat {logs}", "with": ["logs"] }],
    });
    let (record, logs) = (own.path().join("verdict.json"), own.path().join("logs"));
    std::fs::write(&record, verdict.to_string()).unwrap();
    std::fs::create_dir(&logs).unwrap();
    let (record, folder) = (record.to_str().unwrap(), logs.to_str().unwrap());
    let to = |to: &str| {
        let asked = ["recovery", "--record", record, "--logs", folder, "--route", "new-machine", "--to", to];
        site.call(&asked)
    };
    let (later, first, third) = ("2999-01-01T00:00:00Z", logs.join("b.000001"), logs.join("b.000003"));
    std::fs::write(&third, "").unwrap();
    for wanted in ["latest", later] {
        let refused = to(wanted);
        assert!(refused.code == Some(2) && refused.stderr.contains("the log b.000001, without"), "{}", refused.text());
    }
    std::fs::write(&first, "").unwrap();
    let refused = to("latest");
    assert!(refused.code == Some(2) && refused.stderr.contains("number 2 of b."), "{}", refused.text());
    let next = format!("to a time before the end of {}, copied at ", first.display());
    assert!(refused.stderr.contains(&next) && refused.stderr.contains("--to TIME"), "{}", refused.text());
    let printed = to(later);
    let text = unbroken(&printed.stdout);
    assert_eq!(printed.code, Some(0), "{}", printed.text());
    assert!(text.contains("the next one, number 2 of b., is missing, so nothing after that can be had"), "{text}");
    assert!(text.contains("cat ") && text.contains(first.to_str().unwrap()), "{text}");
    assert!(!text.contains(third.to_str().unwrap()), "{text}");
}

/// One of two workloads is asked for by its name; both cannot lie in one folder.
#[test]
fn one_of_several_workloads_is_named() {
    let (_own, app, site) = two_databases();
    let both = site.json(&["run", "--", "true"]);
    both.assert_still();
    let lock = sqlite::lock(&app);
    let one = site.json(&["run", "--", "true"]);
    drop(lock);
    let list = site.call(&["record", "list"]).stdout;
    assert!(list.contains("app failed, orders application-consistent"), "{list}");
    // What is sent again and again is one line.
    let shown = site.call(&["record", "show", one.cycle()]).stdout;
    let (asked, entries) = (shown.matches("begin_immediate").count(), site.entries(&one));
    let sent = entries.iter().filter(|e| e["name"] == "begin_immediate").count();
    assert!(asked * 5 < sent && shown.contains(" times more, up to entry "), "{asked} of {sent}: {shown}");

    let folder = ["recovery", both.cycle(), "--route", "scratch", "--folder", "/srv/scratch"];
    site.json(&folder).assert_fault(2, "SP-RECOVERY-009");
    let named = site.call(&[&folder[..], &["--workload", "orders"]].concat());
    assert_eq!(named.code, Some(0), "{}", named.text());
    // The newest cycle in which it was frozen.
    let printed = site.call(&["recovery", "--workload", "app"]);
    assert!(printed.stdout.contains(&format!("cycle {} ", both.cycle())), "{}", printed.text());
    let passed = format!("{}, in which app was not frozen", one.cycle());
    assert!(unbroken(&printed.stdout).contains(&passed), "{}", printed.text());
    let printed = site.call(&["recovery", "--workload", "orders"]);
    assert!(printed.stdout.contains(&format!("cycle {} ", one.cycle())), "{}", printed.text());
    let nobody = site.call(&["recovery", "--workload", "stock"]);
    assert!(nobody.code == Some(2) && nobody.stderr.contains("name one of: app, orders"), "{}", nobody.text());
}

/// A journal that belongs to another file would be rolled into the one that is put beside it.
#[test]
fn nothing_is_restored_beside_a_strange_journal() {
    if !is_root("nothing_is_restored_beside_a_strange_journal", "what is printed is for root") {
        return;
    }
    let (own, file, site) = one_database(Journal::Rollback);
    let mounted = own.path().join("mounted");
    let below = mounted.join(file.strip_prefix("/").unwrap());
    std::fs::create_dir_all(below.parent().unwrap()).unwrap();
    site.json(&["run", "--", "cp", "-a", file.to_str().unwrap(), below.to_str().unwrap()]).assert_still();
    std::fs::remove_file(&file).unwrap();
    let journal = own.path().join("app.db-journal");
    std::fs::write(&journal, "of another file").unwrap();
    let printed = site.call(&["recovery", "--route", "attached-disks", "--snapshot", mounted.to_str().unwrap()]);
    let ended = run(Command::new("sh").arg("-s"), &printed.stdout);
    assert!(ended.code != Some(0) && !file.exists(), "{}", ended.text());
    assert!(ended.stderr.contains(&format!("move it away: {}", journal.display())), "{}", ended.text());
    assert!(ended.stderr.contains("IT STOPPED"), "{}", ended.text());
    std::fs::remove_file(&journal).unwrap();
    succeed(Command::new("sh").arg("-s"), &printed.stdout);
    assert!(file.exists());
}

/// The owner of the data can lay links where it is copied to, while it is: so it is copied with no more rights than theirs.
#[test]
fn what_the_owner_may_not_read_is_not_copied_for_them() {
    if !is_root("what_the_owner_may_not_read_is_not_copied_for_them", "what is printed is for root") {
        return;
    }
    let (own, file, site) = one_database(Journal::Wal);
    succeed(Command::new("chown").args(["--recursive", "nobody"]).arg(own.path()), "");
    site.add_to_configuration("linux_user = nobody\n");
    let mounted = folder::with_mode(0o755);
    let below = mounted.path().join(file.strip_prefix("/").unwrap());
    std::fs::create_dir_all(below.parent().unwrap()).unwrap();
    site.json(&["run", "--", "cp", "-a", file.to_str().unwrap(), below.to_str().unwrap()]).assert_still();
    let scratch = mounted.path().join("scratch");
    let folder = ["--snapshot", mounted.path().to_str().unwrap(), "--folder", scratch.to_str().unwrap()];
    let printed = site.call(&[&["recovery", "--route", "scratch"], &folder[..]].concat());
    let secret = below.with_extension("db-journal");
    std::fs::write(&secret, "root's alone").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let ended = run(Command::new("sh").arg("-s"), &printed.stdout);
    assert!(ended.code != Some(0) && ended.stderr.contains("Permission denied"), "{}", ended.text());
    assert_eq!(folder::files_with("root's alone", &scratch), [] as [PathBuf; 0]);
}

/// A file of root's can be somebody else's choice: whoever can change a folder on the way put it there, or what lies beside it.
#[test]
fn root_recovers_nothing_that_others_can_change() {
    if !is_root("root_recovers_nothing_that_others_can_change", "what is printed is for root") {
        return;
    }
    let (own, file, site) = one_database(Journal::Wal);
    site.json(&["run", "--", "true"]).assert_still();
    let printed = site.call(&["recovery", "--route", "new-machine"]).stdout;
    let refused = |words: &str| {
        let ended = run(Command::new("sh").arg("-s"), &printed);
        assert!(ended.code != Some(0) && ended.stderr.contains(words), "{}", ended.text());
    };
    succeed(Command::new("sh").arg("-s"), &printed);
    let chown = |user: &str, path: &Path| drop(succeed(Command::new("chown").arg(user).arg(path), ""));
    chown("nobody", own.path());
    refused(&format!("for others can change {}", own.path().display()));
    chown("root", own.path());
    let journal = own.path().join("app.db-journal");
    std::fs::write(&journal, "").unwrap();
    chown("nobody", &journal);
    refused(&format!("for others can change {}", journal.display()));
    std::fs::remove_file(&journal).unwrap();
    let moved = own.path().join("moved");
    std::fs::rename(&file, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &file).unwrap();
    refused("it is a link");
}

/// In a snapshot a link leads to the data of now.
#[test]
fn where_data_really_lies_is_recorded() {
    let (own, file, site) = one_database(Journal::Wal);
    std::os::unix::fs::symlink(own.path(), own.path().join("way")).unwrap();
    let way = own.path().join("way/app.db");
    site.configure(&format!("[workload]\nworkload_name = sqlite\ndbnames = {}\ntimeout = 60\n", way.display()));
    let said = site.json(&["run", "--", "true"]);
    said.assert_still();
    assert_eq!(said.json["workloads"][0]["data"], json!([file]), "{}", said.text);
}

/// What is not whole does not end well.
#[test]
fn a_database_that_is_not_whole_ends_the_script() {
    if !is_root("a_database_that_is_not_whole_ends_the_script", "what is printed is for root") {
        return;
    }
    let (_own, file, site) = one_database(Journal::Wal);
    let sql = |text: &str| succeed(Command::new("sqlite3").arg(&file), text);
    sql("CREATE TABLE t (a INT, b INT); CREATE INDEX i ON t (a); INSERT INTO t VALUES (1, 2);");
    site.json(&["run", "--", "true"]).assert_still();
    let printed = site.call(&["recovery", "--route", "new-machine"]).stdout;
    let ended = succeed(Command::new("sh").arg("-s"), &printed);
    assert!(ended.contains(": ok"), "{ended}");
    // The index is of another column than what it holds.
    sql("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t (b)' WHERE name = 'i';");
    let ended = run(Command::new("sh").arg("-s"), &printed);
    assert!(ended.code != Some(0) && ended.stdout.contains("missing from index"), "{}", ended.text());
}

/// A cycle that lost its keeper has no record of how to recover; an older one has.
#[test]
fn a_cycle_that_lost_its_keeper_says_so() {
    let (_own, _, site) = one_database(Journal::Wal);
    let older = site.json(&["run", "--", "true"]);
    let lost = site.freeze();
    site.kill_keeper_and_guard();
    assert_eq!(site.json(&["recover"]).code, Some(5));
    let printed = unbroken(&site.call(&["recovery"]).stdout);
    assert!(printed.contains("its keeper was lost") && printed.contains(older.cycle()), "{printed}");
    assert!(printed.contains("crash-consistent at best"), "{printed}");
    let lost = lost.json["frozen"]["cycle"].as_str().unwrap();
    let named = site.call(&["recovery", lost]);
    assert!(named.code == Some(2) && named.stderr.contains("nothing can be printed for cycle"), "{}", named.text());
}

/// Root would do what others have put into or beside a database.
#[test]
fn root_opens_no_database_that_others_can_write() {
    if !is_root("root_opens_no_database_that_others_can_write", "only root is refused") {
        return;
    }
    let own = folder::with_mode(0o755);
    let (data, file) = (own.path().join("data"), own.path().join("data/app.db"));
    std::fs::create_dir(&data).unwrap();
    sqlite::make(&file, Journal::Rollback);
    let configuration = |user: &str| {
        format!("[workload]\nworkload_name = sqlite\nlinux_user = {user}\ndbnames = {}\ntimeout = 60\n", file.display())
    };
    let site = Site::with(&configuration("root"));
    assert_eq!(site.json(&["check"]).code, Some(0));
    let chown = |user: &str, path: &Path| drop(succeed(Command::new("chown").arg(user).arg(path), ""));
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let refused = || site.json(&["check"]).assert_fault(4, "SP-DB-007");
    chown("nobody", &file);
    refused();
    chown("root", &file);
    chown("nobody", &data);
    refused();
    chown("root", &data);
    mode(&data, 0o1777);
    refused();
    mode(&data, 0o755);
    assert_eq!(site.json(&["check"]).code, Some(0));
    // A way that somebody else can turn elsewhere, once it was looked at.
    let way = own.path().join("way");
    std::os::unix::fs::symlink(&data, &way).unwrap();
    let by_link = configuration("root").replace("/data/", "/way/");
    site.configure(&by_link);
    assert_eq!(site.json(&["check"]).code, Some(0));
    succeed(Command::new("chown").arg("--no-dereference").arg("nobody").arg(&way), "");
    refused();
    chown("nobody", &file);
    chown("nobody", &data);
    site.configure(&configuration("nobody"));
    site.json(&["run", "--", "true"]).assert_still();
}
