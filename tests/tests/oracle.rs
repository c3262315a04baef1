//! Oracle, against a simulator of its client: no real one can be had. What is shown here is that the statements go to the
//! right instance, in the right order, and are taken back whatever happens; not that an Oracle does what its manuals say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::User;
use stillpoint_tests::dist;
use stillpoint_tests::folder;
use stillpoint_tests::missing::can_be_somebody_else;
use stillpoint_tests::oracle::{Home, Instance};
use stillpoint_tests::processes;
use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::wait_until;
use tempfile::TempDir;

const BEGIN: &str = "ALTER DATABASE BEGIN BACKUP";
const END: &str = "ALTER DATABASE END BACKUP";
const ARCHIVE: &str = "ALTER SYSTEM ARCHIVE LOG CURRENT";

fn home_of(user: &str) -> Home {
    let uid = User::from_name(user).unwrap().expect("a user of every machine").uid.as_raw();
    Home::new(Path::new(env!("CARGO_BIN_EXE_simulated-sqlplus")), uid)
}

/// A machine with one instance, `orcl`, of the user `nobody`, and Azure's file for it.
struct Machine {
    home: Home,
    instance: Instance,
    site: Site,
    ipc: TempDir,
}

impl Machine {
    fn new(more: &str) -> Machine {
        let home = home_of("nobody");
        let instance = home.instance("orcl");
        // The server's own user writes there.
        let ipc = folder::with_mode(0o1777);
        let site = Site::new();
        let list = oratab(&site, &format!("orcl:{}:N\n", home.path().display()));
        let machine = Machine { home, instance, site, ipc };
        machine.site.configure(&machine.configuration(&list, more));
        machine
    }

    fn configuration(&self, list: &Path, more: &str) -> String {
        let timeout = if more.contains("timeout =") { "" } else { "timeout = 60\n" };
        format!(
            "[workload]\nworkload_name = oracle\nconfiguration_path = {}\nipc_folder = {}\n{timeout}{more}\n",
            list.display(),
            self.ipc.path().display()
        )
    }
}

fn oratab(site: &Site, text: &str) -> PathBuf {
    let list = site.path("etc/oratab");
    std::fs::write(&list, text).unwrap();
    std::fs::set_permissions(&list, PermissionsExt::from_mode(0o644)).unwrap();
    list
}

/// The list of instances as Oracle's own tools write it: two homes, each with its own user; and one that is not named.
#[test]
fn two_instances_of_two_users_from_one_list() {
    let test = "two_instances_of_two_users_from_one_list";
    if !can_be_somebody_else(test) {
        return;
    }
    let (first, second) = (home_of("nobody"), home_of("daemon"));
    let (orcl, hr, other) = (first.instance("orcl"), second.instance("hr"), second.instance("other"));
    let site = Site::new();
    let text = format!(
        "# This file is used by ORACLE utilities.\n#\n+ASM:{0}:N\n*:{0}:N\norcl:{0}:N\t\t# line added by Agent\nhr:{1}:Y\n",
        first.path().display(),
        second.path().display()
    );
    let list = oratab(&site, &text);
    site.configure(&format!(
        "[workload]\nworkload_name = oracle\ntimeout = 60\nconfiguration_path = {}\n",
        list.display()
    ));
    site.freeze();
    assert_eq!((orcl.in_backup(), hr.in_backup(), other.in_backup()), (3, 3, 0));
    let said = site.json(&["thaw"]);
    said.assert_recoverable();
    assert_eq!((orcl.in_backup(), hr.in_backup()), (0, 0));
    let names: Vec<_> = said.json["workloads"].as_array().unwrap().iter().map(|w| w["name"].clone()).collect();
    assert_eq!(names, ["orcl", "hr"]);
    assert!(other.trace().is_empty(), "{:?}", other.trace());
    for (instance, uid) in [(&orcl, "65534 "), (&hr, "1 ")] {
        assert!(instance.trace().iter().all(|l| l.starts_with(uid)), "{:?}", instance.trace());
        assert!(instance.trace().iter().all(|l| !l.contains("SYSDBA AS") && !l.contains("AS SYSDBA")));
    }
}

/// Azure's own file, and what comes of the cycle: logs, control file, recovery point; and that nobody has tried it.
#[test]
fn a_cycle_leaves_logs_control_file_and_point() {
    if !can_be_somebody_else("a_cycle_leaves_logs_control_file_and_point") {
        return;
    }
    let m = Machine::new("linux_user = nobody\ncredString = / as sysbackup\n");
    m.site.freeze();
    assert_eq!(m.instance.in_backup(), 3);
    let inside = std::fs::read_to_string(m.ipc.path().join("stillpoint.orcl.recovery-point.json")).unwrap();
    assert!(inside.contains("\"scn\"") && inside.contains("sequence of thread 1"), "{inside}");
    let control = m.ipc.path().join("stillpoint.orcl.control-file.bkp");
    assert!(!control.exists());
    let said = m.site.json(&["thaw"]);
    said.assert_recoverable();
    assert_eq!(m.instance.in_backup(), 0);
    assert_eq!(std::fs::read_to_string(&control).unwrap(), "orcl control01.ctl\n");
    let order: Vec<String> = m.instance.trace().into_iter().filter(|l| l.contains("ALTER ")).collect();
    let order: Vec<&str> = order.iter().map(|l| l.split_once(' ').unwrap().1).collect();
    let copy = format!("ALTER DATABASE BACKUP CONTROLFILE TO '{}' REUSE", control.display());
    assert_eq!(order, [ARCHIVE, BEGIN, END, ARCHIVE, &copy]);
    let archived = std::fs::read_dir(m.instance.folder().join("arch")).unwrap().count();
    assert_eq!(archived, 2);
    let point = said.json["workloads"][0]["point"].to_string();
    assert!(
        point.contains("resetlogs scn") && point.contains("{\"name\":\"sequence of thread 1\",\"value\":\"42\"}"),
        "{point}"
    );
    assert!(said.text.contains("archived: thread 1 to sequence 42"), "{}", said.text);
    assert!(said.json["workloads"][0]["untried"].as_str().unwrap().contains("never on a real Oracle"), "{}", said.text);
    // A second cycle writes over the copy.
    m.site.freeze();
    m.site.json(&["thaw"]).assert_recoverable();
    // For people, too.
    let shown = m.site.call(&["run", "--", "true"]);
    assert!(
        shown.stdout.contains("never on a real Oracle") || shown.stderr.contains("never on a real Oracle"),
        "{shown:?}"
    );
}

/// The archived logs are copied; and what is printed for the day when they are needed says that nobody has run it.
#[test]
fn archived_logs_are_copied_and_recovery_prints_a_plan() {
    if !can_be_somebody_else("archived_logs_are_copied_and_recovery_prints_a_plan") {
        return;
    }
    let shipped = tempfile::tempdir().unwrap();
    let m = Machine::new(&format!("[logbackup]\nbaseLocation = {}\n", shipped.path().display()));
    m.site.freeze();
    m.site.json(&["thaw"]).assert_recoverable();
    let copied = |n: usize| {
        let said = m.site.json(&["log-backup"]);
        assert_eq!(said.code, Some(0), "{}", said.text);
        assert_eq!(said.json["workloads"][0]["copied"].as_array().map(Vec::len), Some(n), "{}", said.text);
        PathBuf::from(said.json["workloads"][0]["folder"].as_str().unwrap())
    };
    // The two of the cycle, and the one that log-backup has closed; then another.
    let folder = copied(3);
    assert_eq!(copied(1), folder);
    assert_eq!(folder.parent(), Some(shipped.path().join("orcl").as_path()));
    succeed(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&folder), "");
    let archive = m.instance.folder().join("arch");
    let remove = || {
        for log in std::fs::read_dir(&archive).unwrap() {
            std::fs::remove_file(log.unwrap().path()).unwrap();
        }
    };
    // RMAN removes what it has backed up: nothing is missing.
    remove();
    assert_eq!(copied(1), folder);
    // A log that is gone before it was copied is missed, and said.
    m.site.freeze();
    m.site.json(&["thaw"]).assert_recoverable();
    remove();
    let said = m.site.json(&["log-backup"]);
    assert!(said.code == Some(1) && said.text.contains("SP-LOG-006"), "{}", said.text);

    let files = m.instance.folder().join("data");
    for (asked, has, not) in [
        (&["--route", "new-machine"][..], "ALTER DATABASE END BACKUP", "rman"),
        (&["--route", "attached-disks", "--to", "recorded"], "UNTIL SCN %s;", "END BACKUP;"),
        (&["--route", "attached-disks", "--to", "2999-01-01T00:00:00Z"], "'2999-01-01 00:00:00 UTC'", "END BACKUP;"),
        (&["--route", "scratch", "--to", "latest"], "RMAN-06054", "END BACKUP;"),
    ] {
        let printed = m.site.call(&[&["recovery"], asked].concat());
        assert_eq!(printed.code, Some(0), "{printed:?}");
        let text = &printed.stdout;
        assert!(text.contains(has) && !text.contains(not), "{text}");
        assert!(text.contains("UNTRIED ON A REAL SERVER") && text.contains("Nobody has run these steps"), "{text}");
        assert!(text.contains(&files.join("users01.dbf").display().to_string()), "{text}");
        succeed(Command::new("sh").arg("-n"), text);
    }
}

/// What the predecessor's timer could get wrong: whatever the environment of a login says, each end of backup goes to the
/// instance that was begun.
#[test]
fn a9_what_a_killed_keeper_left_is_ended_in_the_right_instance() {
    if !can_be_somebody_else("a9_what_a_killed_keeper_left_is_ended_in_the_right_instance") {
        return;
    }
    let home = home_of("nobody");
    let (orcl, hr, other) = (home.instance("orcl"), home.instance("hr"), home.instance("other"));
    // Somebody else's backup mode, which must be left alone.
    other.with(|state| state["files"][0]["active"] = true.into());
    let site = Site::new();
    let path = home.path().display();
    let list = oratab(&site, &format!("orcl:{path}:N\nhr:{path}:N\n"));
    site.configure(&format!(
        "[workload db]\nworkload_name = oracle\ntimeout = 60\nconfiguration_path = {}\n",
        list.display()
    ));
    site.freeze();
    site.kill_keeper_and_guard();
    assert_eq!((orcl.in_backup(), hr.in_backup()), (3, 3));
    let said = site.json(&["recover"]);
    assert_eq!(said.json["taken_back"].as_array().map(Vec::len), Some(2), "{}", said.text);
    assert_eq!((orcl.in_backup(), hr.in_backup(), other.in_backup()), (0, 0, 1));
    assert!(other.trace().is_empty());
    // The guard does it by itself.
    site.freeze();
    site.kill_keeper();
    wait_until("the guard has ended both", || orcl.in_backup() + hr.in_backup() == 0);
    assert_eq!(other.in_backup(), 1);
}

#[test]
fn what_cannot_be_held_is_crash_consistent_and_says_why() {
    if !can_be_somebody_else("what_cannot_be_held_is_crash_consistent_and_says_why") {
        return;
    }
    for (state, reason, found) in [
        (vec![("log_mode", "NOARCHIVELOG")], "NOARCHIVELOG", ""),
        (vec![("status", "MOUNTED"), ("open_mode", "MOUNTED")], "mounted and not open", "closed cleanly"),
        (vec![("open_mode", "READ ONLY")], "read-only", ""),
        (vec![("role", "PHYSICAL STANDBY"), ("open_mode", "READ ONLY WITH APPLY")], "physical standby", ""),
    ] {
        let m = Machine::new("");
        state.iter().for_each(|(key, value)| m.instance.set(key, *value));
        let check = m.site.json(&["check"]);
        let told = check.findings().join("\n");
        assert!(told.contains(reason) && told.contains(found), "{}", check.text);
        m.site.freeze();
        let said = m.site.json(&["thaw"]);
        said.assert_crash_consistent();
        assert!(said.reason().contains(reason), "{}", said.text);
        assert!(m.instance.trace().iter().all(|l| !l.contains("ALTER ")), "{:?}", m.instance.trace());
    }
}

#[test]
fn the_backup_of_somebody_else_is_named_and_left_alone() {
    if !can_be_somebody_else("the_backup_of_somebody_else_is_named_and_left_alone") {
        return;
    }
    let m = Machine::new("");
    m.instance.with(|state| {
        state["files"][2]["active"] = true.into();
        state["files"][2]["time"] = "2026-01-01 01-01-01".into();
    });
    let said = m.site.json(&["freeze"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("somebody else") && said.text.contains("users01.dbf"), "{}", said.text);
    assert_eq!((m.instance.in_backup(), m.instance.sent(END)), (1, 0));
    // Begun between check and prepare: refused by Oracle itself, and not ours to end.
    m.instance.with(|state| state["files"][2]["active"] = false.into());
    m.instance.behave(&format!("meanwhile {ARCHIVE}\n"));
    let said = m.site.json(&["freeze"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("ORA-01146") && said.text.contains("somebody else"), "{}", said.text);
    assert_eq!((m.instance.in_backup(), m.instance.sent(END)), (1, 0), "{}\n{:#?}", said.text, m.instance.trace());
}

/// What the database says is told, and what it means.
#[test]
fn oracles_own_errors_are_told() {
    if !can_be_somebody_else("oracles_own_errors_are_told") {
        return;
    }
    let m = Machine::new("");
    let refused = |expected: &str| {
        let said = m.site.json(&["freeze"]);
        assert_eq!(said.code, Some(4), "{}", said.text);
        assert!(said.text.contains(expected), "{expected}: {}", said.text);
        assert_eq!(m.instance.in_backup(), 0);
    };
    m.instance.set("status", "DOWN");
    refused("ORA-01034");
    m.instance.set("status", "STARTED");
    refused("not mounted");
    m.instance.set("status", "OPEN");
    m.instance.set("archiver", "FAILED");
    refused("archiver has failed");
    m.instance.set("archiver", "STARTED");
    m.instance
        .behave("fail ORA-01123: cannot start online backup; media recovery not enabled | ALTER DATABASE BEGIN\n");
    refused("ORA-01123");
    m.instance
        .behave("fail ORA-00257: Archiver error. Connect AS SYSDBA only until resolved. | ALTER SYSTEM ARCHIVE\n");
    refused("ORA-00257");
    // Words that are neither rows nor an error are not taken for an answer.
    m.instance.behave("fail Something that nobody expected | SELECT TO_CHAR(COUNT(*)) || \n");
    refused("client's own");
    m.instance.behave("");
    m.instance.set("backup_users", serde_json::json!([]));
    refused("ORA-01031");
}

/// The client greets, the site's own profile greets, and a password grows old; and a profile that puts everything back.
#[test]
fn greetings_are_no_answers() {
    if !can_be_somebody_else("greetings_are_no_answers") {
        return;
    }
    let m = Machine::new("");
    m.instance.behave(
        "greet \ngreet Connected to:\ngreet Oracle Database 19c Enterprise Edition Release 19.0.0.0.0 - Production\n\
         greet ERROR:\ngreet ORA-28002: the password will expire within 7 days\ngreet \ngreet Welcome, \"friend\", 7\n",
    );
    m.site.freeze();
    assert_eq!(m.instance.in_backup(), 3);
    m.site.json(&["thaw"]).assert_recoverable();
    // An error of the profile's that is none of these: better not to believe what comes after.
    m.instance.behave("greet SP2-0310: unable to open file \"welcome.sql\"\n");
    let said = m.site.json(&["freeze"]);
    assert!(said.code == Some(4) && said.text.contains("SP2-0310"), "{}", said.text);
}

/// A statement that is never answered: given up within `timeout`, its session ended on the server, nothing left behind.
#[test]
fn a_hung_answer_is_bounded() {
    if !can_be_somebody_else("a_hung_answer_is_bounded") {
        return;
    }
    let m = Machine::new("timeout = 2\nstall_budget = 1\n");
    m.instance.behave(&format!("hang {BEGIN}\n"));
    let began = Instant::now();
    let said = m.site.json(&["freeze"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(
        (m.instance.in_backup(), m.instance.sent("ALTER SYSTEM KILL SESSION")),
        (0, 1),
        "{:?}",
        m.instance.trace()
    );
    m.instance.behave("");
    m.site.freeze();
    m.site.json(&["thaw"]).assert_recoverable();
}

/// A server goes on with what its client has asked for when the client is gone: without the end of its session the backup
/// mode would begin after its end.
#[test]
fn a_begin_that_outlives_its_client_does_not_come_late() {
    if !can_be_somebody_else("a_begin_that_outlives_its_client_does_not_come_late") {
        return;
    }
    let late = Duration::from_millis(2500);
    let m = Machine::new("");
    m.instance.behave(&format!("slow {} {BEGIN}\n", late.as_millis()));
    let asked = m.site.start(&["freeze"]);
    wait_until("it is being begun", || m.instance.sent(BEGIN) == 1);
    let begun = Instant::now();
    m.site.kill_keeper_and_guard();
    // Either takes it back: this command, or the one that waits for the freeze.
    wait_until("nobody else recovers", || {
        let said = m.site.call(&["recover"]);
        assert!(matches!(said.code, Some(0 | 5 | 7)), "{said:?}");
        said.code != Some(7)
    });
    assert_eq!(m.instance.sent("ALTER SYSTEM KILL SESSION"), 1, "{:?}", m.instance.trace());
    wait_until("it would have begun", || begun.elapsed() > late + Duration::from_millis(500));
    assert_eq!(m.instance.in_backup(), 0);
    drop(asked);
}

/// The instance dies while it holds: nobody can end the backup mode, and the words say what STARTUP will say.
#[test]
fn a_crash_of_the_instance_leaves_words_and_then_is_ended() {
    if !can_be_somebody_else("a_crash_of_the_instance_leaves_words_and_then_is_ended") {
        return;
    }
    let m = Machine::new("");
    m.site.freeze();
    m.instance.crash();
    m.site.kill_keeper_and_guard();
    let said = m.site.call(&["recover"]);
    assert_eq!(said.code, Some(6), "{said:?}");
    let words = said.text();
    for word in ["ORA-10873", "STARTUP MOUNT", END, "ORA-01034"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    // As Oracle starts such a database: mounted, and not opened.
    m.instance.start();
    assert_eq!((m.instance.get("status"), m.instance.in_backup()), ("MOUNTED".into(), 3));
    let said = m.site.json(&["recover"]);
    assert_eq!(said.json["taken_back"][0], "orcl: begin_backup undone", "{}", said.text);
    assert_eq!(m.instance.in_backup(), 0);
    // The session of the old instance is no session of the new one: none is killed there.
    assert_eq!(m.instance.sent("ALTER SYSTEM KILL SESSION"), 0);
}

/// The keeper and its guard keep trying: an instance that comes back while they do is freed without anybody.
#[test]
fn an_instance_that_comes_back_is_freed_by_itself() {
    if !can_be_somebody_else("an_instance_that_comes_back_is_freed_by_itself") {
        return;
    }
    let m = Machine::new("");
    m.site.freeze();
    m.instance.crash();
    let thaw = m.site.start(&["thaw"]);
    wait_until("its end was refused", || m.instance.sent(END) > 0);
    m.instance.start();
    let said = Said::of(thaw.end());
    assert_eq!(said.code, Some(5), "{}", said.text);
    assert_eq!(m.instance.in_backup(), 0);
}

/// Somebody ends the backup mode while the snapshot is taken, or ends it and begins another.
#[test]
fn a_backup_mode_that_did_not_hold_is_not_believed() {
    if !can_be_somebody_else("a_backup_mode_that_did_not_hold_is_not_believed") {
        return;
    }
    let m = Machine::new("");
    for change in [0_u64, 7_000_000] {
        m.site.freeze();
        m.instance.with(|state| {
            for file in state["files"].as_array_mut().unwrap() {
                file["active"] = (change > 0).into();
                file["change"] = change.into();
            }
        });
        let said = m.site.json(&["thaw"]);
        assert_eq!(said.code, Some(5), "{}", said.text);
        assert!(said.reason().contains("did not hold"), "{}", said.text);
        assert_eq!(m.instance.in_backup(), 0);
    }
}

/// The log that is archived after the end: it may take a while, and it may fail; nothing is held meanwhile.
#[test]
fn the_last_log_is_waited_for_and_its_failure_is_told() {
    if !can_be_somebody_else("the_last_log_is_waited_for_and_its_failure_is_told") {
        return;
    }
    let m = Machine::new("");
    m.site.freeze();
    m.instance.behave(&format!("slow 3000 {ARCHIVE}\n"));
    let said = m.site.json(&["thaw"]);
    said.assert_recoverable();
    assert!(said.text.contains("archived: thread 1 to sequence 42"), "{}", said.text);
    m.instance.behave("");
    m.site.freeze();
    m.instance.behave(&format!("fail ORA-00257: Archiver error. | {ARCHIVE}\n"));
    let said = m.site.json(&["thaw"]);
    said.assert_recoverable();
    assert!(said.text.contains("ORA-00257"), "{}", said.text);
    assert_eq!(m.instance.in_backup(), 0);
}

/// A login with a password, which no process shows.
#[test]
fn a_password_is_seen_nowhere() {
    if !can_be_somebody_else("a_password_is_seen_nowhere") {
        return;
    }
    let m = Machine::new("credential_file = /dev/null\n");
    let secret = "Hunter&2@x;";
    let file = m.site.credential(&format!("c##backup/\"{secret}\"@orcl as sysbackup"));
    let list = m.site.path("etc/oratab");
    m.site.configure(&m.configuration(&list, &format!("credential_file = {}\n", file.display())));
    m.instance.set("passwords", serde_json::json!({ "C##BACKUP": secret.split('@').next().unwrap() }));
    m.site.freeze();
    assert_eq!(m.instance.in_backup(), 3);
    processes::show_nowhere("Hunter");
    m.site.json(&["thaw"]).assert_recoverable();
    // Wrong: refused, and not repeated.
    m.instance.set("passwords", serde_json::json!({}));
    let said = m.site.json(&["freeze"]);
    assert!(said.text.contains("ORA-01017") && !said.text.contains("Hunter"), "{}", said.text);
    let cycle = m.site.call(&["record", "show"]);
    assert!(!cycle.stdout.contains("Hunter"), "{cycle:?}");
}

/// SYSBACKUP is enough, and the check says nothing of it; SYSDBA is more.
#[test]
fn sysbackup_is_enough_and_sysdba_is_too_much() {
    if !can_be_somebody_else("sysbackup_is_enough_and_sysdba_is_too_much") {
        return;
    }
    let m = Machine::new("");
    let said = m.site.json(&["check"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let told = said.findings().join("\n");
    assert!(!told.contains("SYSDBA") && !told.contains("warning"), "{}", said.text);
    let list = m.site.path("etc/oratab");
    m.site.configure(&m.configuration(&list, "credString = / as sysdba\n"));
    let uid = m.instance.get("backup_users");
    m.instance.set("dba_users", uid);
    let said = m.site.json(&["check"]);
    assert!(said.findings().join("\n").contains("more than it needs to: SYSDBA"), "{}", said.text);
    let printed = m.site.call(&["privileges", "orcl"]);
    assert!(printed.stdout.contains("GRANT SYSBACKUP TO"), "{printed:?}");
}

/// A list of instances says which program is started, and where: each mistake with its place, and how to mend it.
#[test]
fn a_list_that_cannot_be_trusted_or_read_is_refused() {
    if !can_be_somebody_else("a_list_that_cannot_be_trusted_or_read_is_refused") {
        return;
    }
    let m = Machine::new("");
    let path = m.home.path().display();
    let refused = |text: &str, mode: u32, id: &str, words: &[&str]| {
        let list = oratab(&m.site, text);
        std::fs::set_permissions(&list, PermissionsExt::from_mode(mode)).unwrap();
        let said = m.site.call(&["check"]);
        assert_eq!(said.code, Some(2), "{said:?}");
        let said = said.text();
        assert!(said.contains(id) && words.iter().all(|w| said.contains(w)), "{id}: {said}");
        assert!(m.instance.trace().is_empty());
    };
    refused(&format!("orcl:{path}:N\n"), 0o664, "SP-CFG-010", &["chmod 644", "cp "]);
    refused(&format!("# one\norcl:{path}\n"), 0o644, "SP-CFG-014", &["oratab:2:1", "SID:HOME:Y"]);
    refused("orcl:/there/is/none:N\n", 0o644, "SP-CFG-014", &["oratab:1:1", "/there/is/none/bin/oracle"]);
    refused(&format!("orcl:{path}:N\norcl:{path}:Y\n"), 0o644, "SP-CFG-014", &["same as line 1"]);
    refused("# nothing\n+ASM:/grid:N\n", 0o644, "SP-CFG-014", &["names no database"]);
    // A program that others could have written.
    let program = m.home.path().join("bin");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o777)).unwrap();
    let list = oratab(&m.site, &format!("orcl:{path}:N\n"));
    let said = m.site.call(&["check"]);
    let said = said.text();
    assert!(said.contains("SP-CLIENT-002") && said.contains("chmod go-w"), "{said}");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    // Who owns the server's program is nobody whom root lets choose a program.
    m.site.configure(&m.configuration(&list, "linux_user = root\n"));
    let said = m.site.call(&["check"]);
    let said = said.text();
    assert!(said.contains("SP-CLIENT-002"), "{said}");
    assert!(m.instance.trace().is_empty());
}

/// The script for people who have an Oracle: that it runs to its end, and finds what it must.
#[test]
fn the_script_for_a_real_oracle_runs() {
    if !can_be_somebody_else("the_script_for_a_real_oracle_runs") {
        return;
    }
    let m = Machine::new("");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/oracle/try-it.sh");
    let report = m.site.path("report.txt");
    let mut path = std::ffi::OsString::from(dist::program("stillpoint").parent().unwrap());
    path.push(":/usr/sbin:/usr/bin:/sbin:/bin");
    let mut command = Command::new("sh");
    command.arg(&script).arg("orcl").arg(m.home.path()).arg("nobody").arg(&report);
    command.env("PATH", path).env("STILLPOINT_STATE_DIR", m.site.path("")).env("STILLPOINT_TRY_SECONDS", "0");
    let ended = run(&mut command, "");
    let said = std::fs::read_to_string(&report).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}\n{said}");
    assert!(said.contains("SP2-0738") && said.contains("ORA-01142") && said.contains("\"ACTIVE 3\""), "{said}");
    assert_eq!(m.instance.in_backup(), 0);
    // One that does not do as it must is told.
    m.instance.behave("fail ORA-00257: Archiver error. | ALTER SYSTEM ARCHIVE\n");
    let ended = run(&mut command, "");
    assert!(ended.code == Some(1) && ended.stdout.contains("steps were not as expected"), "{ended:?}");
}

/// One instance named in the section itself, and a section that forgot to.
#[test]
fn one_instance_may_stand_in_the_section() {
    if !can_be_somebody_else("one_instance_may_stand_in_the_section") {
        return;
    }
    let m = Machine::new("");
    let home = m.home.path().display();
    m.site
        .configure(&format!("[workload erp]\nworkload_name = oracle\ntimeout = 60\ninstance = orcl\nhome = {home}\n"));
    m.site.freeze();
    assert_eq!(m.instance.in_backup(), 3);
    let said = m.site.json(&["thaw"]);
    said.assert_recoverable();
    // Without an ipc_folder there is no copy of the control file, and that is said.
    assert!(said.text.contains("no ipc_folder"), "{}", said.text);
    m.site.configure("[workload]\nworkload_name = oracle\ntimeout = 60\nlinux_user = nobody\n");
    let said = m.site.call(&["check"]);
    assert!(said.stderr.contains("SP-CLIENT-007") || said.stdout.contains("SP-CLIENT-007"), "{said:?}");
    assert!(format!("{said:?}").contains("configuration_path = /etc/oratab"), "{said:?}");
}
