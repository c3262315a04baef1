//! The scripts of a package: nothing is upgraded or removed while something is frozen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use stillpoint_tests::fake::FakeServer;
use stillpoint_tests::program::{Ended, run};
use stillpoint_tests::site::Site;
use stillpoint_tests::{dist, missing};

/// As dpkg calls them, and an rpm: the script, and its arguments.
const CHANGES: [(&str, &[&str]); 5] = [
    ("debian/prerm", &["upgrade", "2.0.0"]),
    ("debian/prerm", &["remove"]),
    ("debian/preinst", &["upgrade", "1.0.0", "2.0.0"]),
    ("maintainer/before-change", &["2"]),
    ("maintainer/before-change", &["0"]),
];

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn scene(name: &str) -> (FakeServer, Site) {
    let server = FakeServer::private();
    let site = server.site(name, 60);
    (server, site)
}

/// Runs a script as if `site` were the machine's installation.
fn before_change(site: &Site, script: &str, arguments: &[&str]) -> Ended {
    let folder = site.path("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let ours = folder.join("stillpoint");
    let program = dist::program("stillpoint");
    let text = format!("#!/bin/sh\nexec '{}' --state-dir '{}' \"$@\"\n", program.display(), site.path("").display());
    std::fs::write(&ours, text).unwrap();
    std::fs::set_permissions(&ours, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(packaging().join(script));
    command.args(arguments).env_clear().env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    run(&mut command, "")
}

fn assert_refused(said: &Ended, words: &str) {
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("refused") && said.stderr.contains(words), "{said:?}");
}

fn assert_allowed(said: &Ended) {
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_change_is_refused_while_a_cycle_holds() {
    let (server, site) = scene("fake-disk-server");
    site.freeze();
    for (script, arguments) in CHANGES {
        let said = before_change(&site, script, arguments);
        assert_refused(&said, "a backup cycle is under way");
        assert!(said.stderr.contains("fake-disk-server"), "what stands still is named: {said:?}");
        assert_eq!(server.frozen(), "readonly backup", "{script}");
    }
    // dpkg goes back: that must not fail.
    assert_allowed(&before_change(&site, "debian/preinst", &["abort-upgrade", "2.0.0"]));
    assert_eq!(server.frozen(), "readonly backup");
    let said = site.json(&["thaw"]);
    said.assert_consistent();
    for (script, arguments) in CHANGES {
        let said = before_change(&site, script, arguments);
        assert_allowed(&said);
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""), "{script}");
    }
}

#[test]
fn what_a_lost_cycle_left_is_thawed_before_a_change() {
    for (name, frozen) in [("fake-disk", "backup"), ("fake-server", "readonly")] {
        for (script, arguments) in CHANGES {
            let (server, site) = scene(name);
            site.freeze();
            site.kill_keeper_and_guard();
            assert_eq!(server.frozen(), frozen);
            let said = before_change(&site, script, arguments);
            assert_allowed(&said);
            assert!(said.stderr.contains("thawed first"), "{said:?}");
            assert_eq!(server.frozen(), "", "{said:?}");
            assert!(server.writes());
        }
    }
}

#[test]
fn a_change_is_refused_where_what_was_left_cannot_be_thawed() {
    let (mut server, site) = scene("fake-disk");
    site.freeze();
    site.kill_keeper_and_guard();
    server.kill();
    let said = before_change(&site, "debian/prerm", &["remove"]);
    assert_refused(&said, "SOMETHING MAY STILL STAND STILL");
    assert_eq!(site.json(&["status"]).code, Some(6));
    server.start();
    assert_allowed(&before_change(&site, "debian/prerm", &["remove"]));
    assert_eq!(server.frozen(), "");
}

/// What cannot be read may hold anything.
#[test]
fn a_change_is_refused_where_the_ledger_cannot_be_read() {
    let (_server, site) = scene("fake-disk");
    std::fs::create_dir_all(site.path("lib/ledger")).unwrap();
    assert_refused(&before_change(&site, "debian/prerm", &["upgrade", "2.0.0"]), "ledger");
}

#[test]
fn the_first_installation_is_not_refused() {
    for script in ["debian/preinst", "maintainer/before-change"] {
        let mut command = Command::new(packaging().join(script));
        command.args(["install"]).env_clear().env("PATH", "/nowhere");
        assert_allowed(&run(&mut command, ""));
    }
}

#[test]
fn systemd_accepts_the_units() {
    let Some(analyze) = missing::program("systemd_accepts_the_units", &["systemd-analyze"], "systemd") else { return };
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(packaging().join("systemd")).unwrap() {
        let unit = entry.unwrap().path();
        if unit.extension().is_none_or(|e| e != "service") {
            continue;
        }
        // It looks for the program.
        let program = dist::program("stillpoint").display().to_string();
        let text = std::fs::read_to_string(&unit).unwrap().replace("/usr/bin/stillpoint", &program);
        let copy = folder.path().join(unit.file_name().unwrap());
        std::fs::write(&copy, text).unwrap();
        let said = run(Command::new(&analyze).args(["verify", "--man=no"]).arg(&copy), "");
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", unit.display());
    }
}
