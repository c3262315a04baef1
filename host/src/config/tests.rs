use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;

const GOOD: &str = "[workload]\nworkload_name = mysql\n";

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn me() -> String {
    nix::unistd::User::from_uid(nix::unistd::Uid::effective()).unwrap().unwrap().name
}

/// Reads a text as a file that only its owner can read.
fn read_bytes(text: &[u8]) -> Result<Configuration, Vec<Fault>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("workload.conf");
    std::fs::write(&path, text).unwrap();
    mode(&path, 0o600);
    read(&path)
}

fn read_text(text: &str) -> Result<Configuration, Vec<Fault>> {
    read_bytes(text.as_bytes())
}

/// All that a person is told.
fn said(faults: &[Fault]) -> String {
    faults.iter().map(|f| format!("{f}\n{}\n", serde_json::to_string(f).unwrap())).collect()
}

fn refused(text: &str) -> Vec<Fault> {
    let faults = read_text(text).unwrap_err();
    assert!(faults.iter().all(|f| f.exit == Exit::Usage && f.next.is_some()), "{}", said(&faults));
    faults
}

#[test]
fn azures_manuals_template_is_read_unchanged() {
    let text = "[workload]\n# valid values are mysql, oracle\nworkload_name = mysql\ncommand_path = \nlinux_user = \n\
                credString = \nipc_folder = \ntimeout =\n";
    let read = read_text(text).unwrap();
    assert_eq!((read.workloads[0].name.as_str(), read.workloads[0].workload_name.as_str()), ("mysql", "mysql"));
    assert_eq!((read.timeout, read.workloads[0].linux_user.uid), (Duration::from_secs(90), 0));
    assert_eq!(read.workloads[0].stall_budget, Duration::from_secs(5));
    assert_eq!(read.keep_records, 1000);
    assert!(read.warnings.is_empty());
}

/// As it is shipped today: whoever has not filled it in is told what is missing, and nothing else.
#[test]
fn azures_shipped_template_is_read_unchanged() {
    let template = |name: &str| {
        format!(
            "[workload]\n#workload_name valid values- mysql, oracle, mariadb, postgres\nworkload_name = {name}\n\
             command_path = \ncredString = \nipc_folder = \ntimeout = \nlinux_user = \n\n"
        )
    };
    for name in ["mysql", "oracle", "mariadb", "postgres"] {
        let read = read_text(&template(name)).unwrap();
        assert_eq!((read.workloads[0].workload_name.as_str(), read.warnings.len()), (name, 0));
    }
    let faults = refused(&template(""));
    assert_eq!((faults.len(), faults[0].id.as_str(), faults[0].azure), (1, "SP-CFG-006", Some(501)));
}

/// As it was shipped at first, every line a comment: filled in by taking those away.
#[test]
fn azures_first_template_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let ipc = folder.path().canonicalize().unwrap();
    let template = |role: &str| {
        format!(
            "#[workload]\n#workload_name = mysql\n#command_path = /usr/bin/\n#credString = --login-path=root\n\
             #role = {role}\n#enforceSlaveOnly = 1 \n#ipc_folder = {}\n#timeout = 300\n#linux_user = {}\n\
             #dbnames = db1;db2\n#[logbackup]\n#parameterFilePath = /u01/app/oracle/dbs/initCDB1.ora\n\
             #baseLocation = /logbackup/\n#crontabLocation = /var/spool/cron/root\n",
            ipc.display(),
            me()
        )
    };
    let read = read_text(&template("slave").replace('#', "")).unwrap();
    let w = &read.workloads[0];
    assert_eq!((w.role, w.only_replica, w.timeout.as_secs()), (Some(Role::Replica), true, 300));
    assert_eq!((w.databases.len(), w.credential.login.login_path.as_deref()), (2, Some("root")));
    assert_eq!(read.log_destination.unwrap(), Path::new("/logbackup"));
    assert_eq!(read.warnings.len(), 2, "{}", said(&read.warnings));
    // Azure's own reader takes it as it stands there, and then fails before each snapshot.
    let faults = refused(&template("master").replace('#', ""));
    assert_eq!((faults.len(), faults[0].azure), (1, Some(502)));
    assert_eq!(refused(&template("master"))[0].id, "SP-CFG-006");
}

#[test]
fn what_azures_reader_takes_is_taken() {
    let text = "\u{feff}[workload]\r\nWORKLOAD_NAME: mysql\r\n  ; a comment\r\ncredstring = -u root -p'a=b; #c'\r\n\
                dbnames=a;b ; c\r\ncustomScriptEnabled = 0\r\nenforceSlaveOnly = 0\r\nconfiguration_path =\r\n";
    let read = read_text(text).unwrap();
    assert_eq!(read.workloads[0].databases, ["a", "b", "c"]);
    assert_eq!(read.workloads[0].credential.password.as_ref().map(Secret::expose), Some("a=b; #c"));
}

#[test]
fn only_a_replica_can_be_asked_for() {
    for (written, role, only_replica) in [
        ("role = slave\nenforceSlaveOnly = 1", Some(Role::Replica), true),
        ("ROLE = slave\nenforceslaveonly = True", Some(Role::Replica), true),
        ("enforceSlaveOnly = 1", None, true),
        ("role = slave\nenforceSlaveOnly = 0", Some(Role::Replica), false),
        ("role = master\nenforceSlaveOnly =", Some(Role::Primary), false),
        ("role =", None, false),
    ] {
        let w = read_text(&format!("{GOOD}{written}\n")).unwrap().workloads.remove(0);
        assert_eq!((w.role, w.only_replica), (role, only_replica), "{written}");
    }
    assert_eq!(refused(&format!("{GOOD}role = boss\n"))[0].azure, Some(502));
    assert_eq!(refused(&format!("{GOOD}role = master\nenforceSlaveOnly = 1\n"))[0].azure, Some(502));
    assert_eq!(refused(&format!("{GOOD}timeout = x\n"))[0].azure, Some(501));
}

#[test]
fn where_logs_are_copied_is_read() {
    let azures = format!(
        "{GOOD}\n[logbackup]\nparameterFilePath = /u01/pfile.ora\nbaseLocation = /backup/\n\
         crontabLocation = /var/spool/cron/root\n"
    );
    let read = read_text(&azures).unwrap();
    assert_eq!(read.log_destination, Some("/backup".into()));
    let told = said(&read.warnings);
    assert!(read.warnings.iter().all(|w| w.id == "SP-CFG-022" && w.next.is_some()), "{told}");
    for words in ["parameterFilePath is not read", "5 | parameterFilePath = /u01", "stillpoint-log-backup.timer"] {
        assert!(told.contains(words), "{told}");
    }
    let plain = read_text(&format!("[logbackup]\nbaseLocation = /mnt/logs\nparameterFilePath =\n{GOOD}")).unwrap();
    assert_eq!((plain.log_destination.unwrap(), plain.warnings.len()), ("/mnt/logs".into(), 0));
    assert_eq!(read_text(GOOD).unwrap().log_destination, None);
    assert_eq!(refused("[logbackup]\nbaseLocation = /mnt/logs\n")[0].id, "SP-CFG-006");
}

#[test]
fn every_key_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let ipc = folder.path().canonicalize().unwrap();
    let text = format!(
        "[workload orders]\nworkload_name = mariadb\ncommand_path = /opt/db/bin\nlinux_user = {}\n\
         credString = -u backup -h db -P 3307 -S /s --database=x --login-path=l\nipc_folder = {}/\ntimeout = 120\n\
         dbnames = /srv/a.db, /srv/b.db\non_failure = continue\norder = 2\nsnapshot = per-volume\nstall_budget = 7\n\
         module = /srv/m\nrole = master\n\n[workload files]\nworkload_name = sqlite\nsnapshot = per-volume\n",
        me(),
        ipc.display()
    );
    let read = read_text(&text).unwrap();
    let w = &read.workloads[0];
    assert_eq!((w.name.as_str(), w.workload_name.as_str()), ("orders", "mariadb"));
    assert_eq!(w.command_path.as_deref(), Some(Path::new("/opt/db/bin")));
    assert_eq!((w.linux_user.name.clone(), w.linux_user.home.is_absolute()), (me(), true));
    assert_eq!((w.credential.login.port, w.credential.login.login_path.as_deref()), (Some(3307), Some("l")));
    assert_eq!(w.ipc_folder.as_deref(), Some(ipc.as_path()));
    assert_eq!(w.databases, ["/srv/a.db", "/srv/b.db"]);
    assert_eq!((w.role, w.only_replica), (Some(Role::Primary), false));
    assert_eq!((w.on_failure, w.order, w.snapshot), (OnFailure::Continue, 2, Snapshot::PerVolume));
    assert_eq!((w.timeout, w.stall_budget), (Duration::from_secs(120), Duration::from_secs(7)));
    assert_eq!(w.module.as_deref(), Some(Path::new("/srv/m")));
    assert_eq!((read.timeout, read.snapshot), (Duration::from_secs(90), Snapshot::PerVolume));
    assert_eq!(read.workloads[1].on_failure, OnFailure::Abort);
    assert_eq!((read.workloads[1].role, read.workloads[1].only_replica), (None, false));
}

#[test]
fn every_mistake_is_named_with_its_place() {
    for (line, id, words, column) in [
        ("timeot = 5", "SP-CFG-003", "did you mean  timeout", 1),
        ("nonsense = 5", "SP-CFG-003", "known are workload_name", 1),
        ("timeout = 5\nTimeOut = 6", "SP-CFG-004", "twice", 1),
        ("timeout = 0", "SP-CFG-005", "timeout = 90", 11),
        ("timeout = -1", "SP-CFG-005", "timeout = 90", 11),
        ("timeout = abc", "SP-CFG-005", "timeout = 90", 11),
        ("timeout = 90 ; seconds", "SP-CFG-005", "timeout = 90", 11),
        ("timeout=99999999999999999999999", "SP-CFG-005", "86400", 9),
        ("timeout = 86401", "SP-CFG-005", "86400", 11),
        ("timeout = ٣", "SP-CFG-005", "whole number", 11),
        ("keep_records = 0", "SP-CFG-005", "from 1 to 1000000", 16),
        ("\tstall_budget =  90", "SP-CFG-005", "below timeout", 18),
        ("timeout = 4\nstall_budget = 5", "SP-CFG-005", "stall_budget = 2, or raise timeout", 16),
        ("timeout = 1\nstall_budget = 1", "SP-CFG-005", "leave it out, or raise timeout", 16),
        ("order = -1", "SP-CFG-005", "not below 0", 9),
        ("on_failure = stop", "SP-CFG-005", "abort  or  continue", 14),
        ("snapshot = none", "SP-CFG-005", "per-volume", 12),
        ("role = boss", "SP-CFG-005", "master", 8),
        ("module = here", "SP-CFG-005", "absolute", 10),
        ("dbnames = a,b,a", "SP-CFG-004", "twice", 11),
        ("linux_user = nobody-of-this-name", "SP-CFG-008", "does not exist", 14),
        ("[workload]\nworkload_name = mysql", "SP-CFG-004", "[workload] is there twice", 1),
        ("[workload mysql]\nworkload_name = oracle", "SP-CFG-004", "named mysql", 1),
        ("[workload other]\nworkload_name = x\nsnapshot = files", "SP-CFG-011", "the same  snapshot =", 12),
        ("[workload other]", "SP-CFG-006", "workload_name is missing", 1),
        ("[workload a/b]\nworkload_name = x", "SP-CFG-005", "letters, digits", 1),
        ("[workloads]", "SP-CFG-003", "[workloads] is unknown", 1),
        ("[logbackup]", "SP-CFG-006", "baseLocation = /mnt/logs", 1),
        ("[logbackup]\nbaseLocation = logs", "SP-CFG-005", "absolute", 16),
        ("[logbackup]\nbaseLocation = /a  # here", "SP-CFG-005", "a line of its own", 16),
        ("[logbackup]\nbaseLocation = /a\nBaselocation = /b", "SP-CFG-004", "twice", 1),
        ("[logbackup]\nbaseLocation = /a\nkeep = 3", "SP-CFG-003", "known are baseLocation", 1),
        ("[LogBackup]", "SP-CFG-003", "[logbackup]", 1),
        ("command = /opt/db/bin/sqlplus", "SP-CFG-007", "command_path", 1),
        ("customScriptEnabled = 1", "SP-CFG-007", "stillpoint run", 1),
        ("enforceSlaveOnly = 2", "SP-CFG-005", "neither 0 nor 1", 20),
        ("role = master\nenforceSlaveOnly = 1", "SP-CFG-005", "role = slave  or", 20),
        ("filesystems = srv", "SP-CFG-005", "absolute", 15),
        ("configuration_path = /there/is/none", "SP-CFG-001", "SID:HOME:N", 22),
        ("timeout 90", "SP-CFG-002", "there is no =", 1),
        ("= 90", "SP-CFG-002", "no key", 1),
        ("[workload", "SP-CFG-002", "] is missing", 1),
        ("[workload x] # why", "SP-CFG-002", "behind the ]", 1),
        ("linux_user = root\\\ntimeout = 90", "SP-CFG-002", "backslash", 1),
        ("ipc_folder = /there/is/none", "SP-IPC-001", "No such file", 14),
        ("credential_file = /there/is/none", "SP-CFG-001", "No such file", 19),
    ] {
        let faults = refused(&format!("{GOOD}{line}\n"));
        let said = said(&faults);
        assert_eq!(faults.len(), 1, "{line}: {said}");
        assert!(faults[0].id == id && said.contains(words), "{line}: {said}");
        let excerpt = faults[0].excerpt.as_deref().unwrap();
        assert!(excerpt.contains("-->") && excerpt.contains(&format!(":{column}\n")), "{line}: {said}");
        assert_eq!(excerpt.lines().last().unwrap().chars().count(), "3 | ".len() + column, "{line}: {said}");
    }
    assert_eq!(refused("timeout = 5\n")[0].id, "SP-CFG-003");
    assert_eq!(refused("")[0].id, "SP-CFG-006");
    assert_eq!(refused("# nothing\n")[0].id, "SP-CFG-006");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let faults = refused(&format!("{GOOD}timeot = 5\norder = x\nwhat\nlinux_user = nobody-of-this-name\n"));
    let mut ids: Vec<_> = faults.iter().map(|f| f.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["SP-CFG-002", "SP-CFG-003", "SP-CFG-005", "SP-CFG-008"]);
}

#[test]
fn a_fault_reads_as_a_person_needs_it() {
    let faults = refused(&format!("{GOOD}timeout = abc\n"));
    let told = faults[0].to_string();
    let place = told.lines().nth(1).unwrap();
    assert!(place.starts_with("  --> /") && place.ends_with("/workload.conf:3:11"), "{told}");
    let rest: Vec<_> = told.lines().enumerate().filter(|(i, _)| *i != 1).map(|(_, line)| line).collect();
    assert_eq!(
        rest,
        [
            "mysql: timeout must be a whole number of seconds, from 1 to 86400.   SP-CFG-005 (Azure: 501)",
            "3 | timeout = abc",
            "  |           ^",
            "→ write  timeout = 90",
        ]
    );
}

#[test]
fn a_secret_is_never_repeated() {
    for text in [
        "credString = -u root -phunter2 --nonsense",
        "credString: -u root -phunter2 --nonsense",
        "CREDSTRING=-u root -phunter2 --nonsense",
        "credString = -phunter2\ncredString = -phunter2",
        "credString = -u root -p'hunter2",
        "credString -u root -phunter2",
        "credString = -u root\n  -phunter2",
        "credString = -u root\n  --password=hunter2",
        "credString = -u root\n  -phunter2=",
        "credString = -u root -phunter2%%",
        "credString = -u root -phunter2\\",
        "credSting = -u root -phunter2",
        "password = hunter2",
        "= hunter2",
        "hunter2",
        "hunter2\\",
        "credential_file = /x\ncredString = -phunter2\nusr = x",
    ] {
        let said = said(&refused(&format!("{GOOD}{text}\n")));
        assert!(!said.contains("hunter2"), "{text}: {said}");
    }
    let good = read_text(&format!("{GOOD}credString = -u root -phunter2\n")).unwrap();
    assert!(!format!("{good:?}").contains("hunter2"));
}

#[test]
fn what_may_be_too_short_is_a_warning() {
    let read = read_text(&format!("{GOOD}timeout = 1\n")).unwrap();
    let ids: Vec<_> = read.warnings.iter().map(|w| w.id.as_str()).collect();
    assert_eq!(ids, ["SP-CFG-020"]);
    assert!(read.workloads[0].stall_budget < read.timeout);
    assert_eq!(read_text(&format!("{GOOD}timeout = 86400\n")).unwrap().timeout, Duration::from_secs(86_400));
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("workload.conf");
    let id = || {
        let faults = read(&path).unwrap_err();
        assert!(faults.len() == 1 && faults[0].next.is_some(), "{}", said(&faults));
        assert!(faults[0].what.contains(path.to_str().unwrap()), "{}", said(&faults));
        faults[0].id.clone()
    };
    assert_eq!(id(), "SP-CFG-001");
    std::fs::create_dir(&path).unwrap();
    assert_eq!(id(), "SP-CFG-001");
    std::fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(id(), "SP-CFG-001");
    std::fs::remove_file(&path).unwrap();
    for content in [&b"[workload]\nworkload_name = m\xff\n"[..], b"[workload]\nworkload_name = m\0\n", b"a\rb"] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(id(), "SP-CFG-001");
    }
    std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert_eq!(id(), "SP-CFG-001");
    std::fs::write(&path, GOOD).unwrap();
    mode(&path, 0o666);
    assert_eq!(id(), "SP-CFG-010");
    mode(&path, 0o644);
    assert!(read(&path).is_ok());
}

#[test]
fn a_password_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("workload.conf");
    std::fs::write(&path, format!("{GOOD}credString = -u a -phunter2\n")).unwrap();
    for open in [0o644, 0o640, 0o604] {
        mode(&path, open);
        let faults = read(&path).unwrap_err();
        assert_eq!(faults[0].id, "SP-CFG-009");
        assert_eq!(faults[0].next.as_deref(), Some(format!("chmod 600 {}", path.display()).as_str()));
        assert!(!said(&faults).contains("hunter2"));
    }
    mode(&path, 0o600);
    assert!(read(&path).is_ok());
    // Without a password there is nothing to hide.
    std::fs::write(&path, format!("{GOOD}credString = -u a\n")).unwrap();
    mode(&path, 0o644);
    assert!(read(&path).is_ok());
}

#[test]
fn a_credential_file_is_read_where_only_its_owner_can() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credential");
    let text = format!("{GOOD}credential_file = {}\n", file.display());
    std::fs::write(&file, "-u backup -phunter2%%\n").unwrap();
    mode(&file, 0o600);
    let good = read_text(&text).unwrap().workloads.remove(0).credential;
    assert_eq!((good.login.user.as_deref(), good.file.as_ref()), (Some("backup"), Some(&file)));
    assert_eq!(good.password.as_ref().map(Secret::expose), Some("hunter2%%"));
    let id = || {
        let faults = refused(&text);
        assert!(faults.len() == 1 && !said(&faults).contains("hunter2"), "{}", said(&faults));
        faults[0].id.clone()
    };
    mode(&file, 0o640);
    assert_eq!(id(), "SP-CFG-009");
    mode(&file, 0o600);
    mode(folder.path(), 0o777);
    assert_eq!(id(), "SP-CFG-010");
    mode(folder.path(), 0o700);
    for content in [&b"-u root --hunter2"[..], b"-phunter2\xff", b"-phunter2\x01"] {
        std::fs::write(&file, content).unwrap();
        assert_eq!(id(), "SP-CFG-005");
    }
    std::fs::write(&file, vec![b' '; 65 * 1024]).unwrap();
    assert_eq!(id(), "SP-CFG-001");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(id(), "SP-CFG-001");
}

#[test]
fn an_ipc_folder_that_others_can_turn_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let real = root.join("real");
    std::fs::create_dir(&real).unwrap();
    std::fs::create_dir(real.join("ipc")).unwrap();
    std::fs::write(root.join("file"), "").unwrap();
    symlink("real", root.join("link")).unwrap();
    let id = |under: &str| match read_text(&format!("{GOOD}ipc_folder = {}/{under}\n", root.display())) {
        Ok(_) => "good".to_owned(),
        Err(faults) => faults[0].id.clone(),
    };
    assert_eq!(id("real"), "good");
    assert_eq!(id("real/ipc/"), "good");
    for bad in ["link", "link/", "link/ipc", "real/../real", "file", "nothing"] {
        assert_eq!(id(bad), "SP-IPC-001", "{bad}");
    }
    let warned = |under: &str| {
        let read = read_text(&format!("{GOOD}ipc_folder = {}/{under}\n", root.display())).unwrap();
        read.warnings.into_iter().map(|w| w.id).collect::<Vec<_>>()
    };
    assert_eq!(warned("real"), Vec::<String>::new());
    // Who can write into it is a warning; who can turn it is a fault.
    mode(&real, 0o770);
    assert_eq!(warned("real"), ["SP-IPC-003"]);
    assert_eq!(id("real/ipc"), "SP-IPC-002");
    mode(&real, 0o1777);
    assert_eq!(warned("real"), Vec::<String>::new());
    assert_eq!(id("real/ipc"), "good");
    if nix::unistd::Uid::effective().is_root() {
        std::os::unix::fs::chown(real.join("ipc"), Some(65534), None).unwrap();
        assert_eq!(id("real/ipc"), "SP-IPC-002");
    }
    assert_eq!(refused(&format!("{GOOD}ipc_folder = here\n"))[0].id, "SP-CFG-005");
}

#[test]
fn the_file_is_the_named_one_else_the_one_in_etc() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(find(Some(Path::new("x.conf")), folder.path()), Path::new("x.conf"));
    assert_eq!(find(None, folder.path()), folder.path().join("workload.conf"));
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_-]{1,20}"
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\[workload[ a-z]{0,4}\\]\n|[a-zA-Z_]{1,12} ?[=:] ?[^\n]{0,20}\n|[^\n]{0,10}\n){0,8}") {
        let _ = read_text(&text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_bytes(&bytes);
    }

    #[test]
    fn the_parser_and_the_places_see_the_same_keys(text in "([ \t]?[\\[\\]a-c=:;# \\\\'\"é\u{a0}\u{85}-]{0,8}\n){0,8}") {
        let path = Path::new("x");
        let places = place::Places::of(path, &text);
        let option = ini::ParseOption { enabled_escape: false, enabled_quote: false, ..Default::default() };
        let ini = ini::Ini::load_from_str_opt(&places.sound(), option).unwrap();
        for (section, properties) in &ini {
            for (key, _) in properties.iter() {
                let excerpt = places.excerpt(section, place::At::Key(key));
                prop_assert!(excerpt.starts_with("  --> x:"), "{section:?} {key:?}: {excerpt}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        name in word(), workload_name in word(), timeout in 1u64..=86_400, order: u32, user in word(),
        password in "[ -~]{1,30}", databases in proptest::collection::btree_set("/?[a-zA-Z0-9./é_-]{1,20}", 0..4),
        snapshot in 0usize..3, go_on: bool,
    ) {
        prop_assume!(!password.contains("%%") && !password.contains("%(") && !password.ends_with('\\'));
        prop_assume!(!user.starts_with('-'));
        let databases: Vec<String> = databases.into_iter().collect();
        let kinds = [("atomic", Snapshot::Atomic), ("per-volume", Snapshot::PerVolume), ("files", Snapshot::Files)];
        let quoted = shlex::try_quote(&format!("-p{password}")).unwrap().into_owned();
        let text = format!(
            "# written by a test\n[workload {name}]\nworkload_name = {workload_name}\nlinux_user = {}\ntimeout = {timeout}\n\
             order = {order}\ncredString = -u {user} {quoted}\ndbnames = {}\nsnapshot = {}\non_failure = {}\n",
            me(), databases.join(", "), kinds[snapshot].0, if go_on { "continue" } else { "abort" },
        );
        let read = read_text(&text);
        prop_assert!(read.is_ok(), "{}", said(&read.unwrap_err()));
        let w = read.unwrap().workloads.remove(0);
        prop_assert_eq!((w.name, w.workload_name, w.timeout.as_secs(), w.order), (name, workload_name, timeout, order));
        prop_assert_eq!(w.credential.login.user, Some(user));
        prop_assert_eq!(w.credential.password.as_ref().map(Secret::expose), Some(password.as_str()));
        prop_assert_eq!((w.databases, w.snapshot), (databases, kinds[snapshot].1));
        prop_assert_eq!(w.on_failure == OnFailure::Continue, go_on);
    }
}
