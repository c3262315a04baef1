//! What `stillpoint recovery` prints when somebody has laid a trap: in a database, in a record, in a path. And what it says
//! where nothing can be printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use stillpoint_tests::folder;
use stillpoint_tests::missing::missing;
use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};

/// SQLite's own client does what a file holds. So the printed commands open it as its owner.
#[test]
fn a_database_that_holds_a_command_is_not_opened_by_root() {
    let test = "a_database_that_holds_a_command_is_not_opened_by_root";
    if !nix::unistd::geteuid().is_root() {
        return missing(test, "what is printed is for root");
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
    let own = folder::with_mode(0o755);
    let file = own.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let site = Site::with(&format!("[workload]\nworkload_name = sqlite\ndbnames = {}\ntimeout = 60\n", file.display()));
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
    let own = folder::with_mode(0o755);
    let file = own.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let configuration = format!("[workload]\nworkload_name = sqlite\ndbnames = {}\ntimeout = 60\n", file.display());
    let site = Site::with(&configuration);
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
    assert!(none.code == Some(2) && none.stderr.contains("there is no snapshot of cycle"), "{}", none.text());
    let doubtful = site.call(&["recovery", failed.cycle()]);
    assert!(doubtful.code == Some(0) && doubtful.stdout.contains("see whether there is one at all"));

    let list = site.call(&["record", "list"]).stdout;
    let order: Vec<&str> = list.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(order, [refused.cycle(), failed.cycle(), second.cycle(), first.cycle()], "{list}");
}

/// A journal that belongs to another file would be rolled into the one that is put beside it.
#[test]
fn nothing_is_restored_beside_a_strange_journal() {
    let test = "nothing_is_restored_beside_a_strange_journal";
    if !nix::unistd::geteuid().is_root() {
        return missing(test, "what is printed is for root");
    }
    let own = folder::with_mode(0o755);
    let file = own.path().join("app.db");
    sqlite::make(&file, Journal::Rollback);
    let site = Site::with(&format!("[workload]\nworkload_name = sqlite\ndbnames = {}\ntimeout = 60\n", file.display()));
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

/// A cycle that lost its keeper has no record of how to recover; an older one has.
#[test]
fn a_cycle_that_lost_its_keeper_says_so() {
    let own = folder::with_mode(0o755);
    let file = own.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let site = Site::with(&format!("[workload]\nworkload_name = sqlite\ndbnames = {}\ntimeout = 60\n", file.display()));
    let older = site.json(&["run", "--", "true"]);
    site.freeze();
    site.kill_keeper_and_guard();
    assert_eq!(site.json(&["recover"]).code, Some(5));
    let printed = site.call(&["recovery"]).stdout;
    assert!(printed.contains("which lost its keeper") && printed.contains(older.cycle()), "{printed}");
}

/// Root would do what others have put into or beside a database.
#[test]
fn root_opens_no_database_that_others_can_write() {
    let test = "root_opens_no_database_that_others_can_write";
    if !nix::unistd::geteuid().is_root() {
        return missing(test, "only root is refused");
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
    chown("nobody", &file);
    chown("nobody", &data);
    site.configure(&configuration("nobody"));
    site.json(&["run", "--", "true"]).assert_still();
}
