use proptest::prelude::*;

use super::*;

fn read_text(text: &str) -> Result<Configuration, Vec<Fault>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("workload.conf");
    std::fs::write(&path, text).unwrap();
    read(&path)
}

#[test]
fn azures_template_is_read_unchanged() {
    let text = "[workload]\n# valid values are mysql, oracle\nworkload_name = mysql\ncommand_path = \nlinux_user = root\n\
                credString = \nipc_folder = \ntimeout = 90\n";
    let read = read_text(text).unwrap();
    assert_eq!(read.workloads[0].name, "mysql");
    assert_eq!(read.timeout, Duration::from_secs(90));
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let good = "[workload]\nworkload_name = mysql\n";
    for (text, id, word) in [
        (format!("{good}timeot = 5\n"), "SP-CFG-003", "did you mean  timeout"),
        (format!("{good}timeout = 5\ntimeout = 6\n"), "SP-CFG-004", "twice"),
        (format!("{good}timeout = 0\n"), "SP-CFG-005", "whole number"),
        (format!("{good}timeout = abc\n"), "SP-CFG-005", "whole number"),
        (format!("{good}linux_user = nobody-of-this-name\n"), "SP-CFG-008", "does not exist"),
        (format!("{good}{good}"), "SP-CFG-004", "twice"),
        (format!("{good}ipc_folder = /there/is/none\n"), "SP-IPC-001", "ipc_folder"),
        (format!("{good}customScriptEnabled = True\n"), "SP-CFG-007", "not honoured"),
        (format!("{good}credString = hunter2\n"), "SP-CFG-005", "word 1"),
        (format!("{good}[logbackup]\nx = 1\n"), "SP-CFG-007", "not honoured"),
        ("timeout = 5\n".into(), "SP-CFG-003", "before any section"),
    ] {
        let faults = read_text(&text).unwrap_err();
        let said: String = faults.iter().map(|f| format!("{f}\n")).collect();
        assert!(faults.iter().any(|f| f.id == id && f.exit == Exit::Usage), "{text}: {said}");
        assert!(said.contains(word) && said.contains("-->"), "{text}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_password_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("workload.conf");
    std::fs::write(&path, "[workload]\nworkload_name = mysql\ncredString = -u a -phunter2\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let faults = read(&path).unwrap_err();
    assert_eq!(faults[0].id, "SP-CFG-009");
    assert!(!faults[0].to_string().contains("hunter2"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(read(&path).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\[workload[ a-z]{0,4}\\]\n|[a-zA-Z_]{1,12} ?= ?[^\n]{0,20}\n|[^\n]{0,10}\n){0,8}") {
        let _ = read_text(&text);
    }
}
