//! A module may do what it wants: nothing stays frozen, and nothing is claimed that was not proved.
//!
//! What each name does stands in `guests/hostile`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use stillpoint_tests::dist;
use stillpoint_tests::program::succeed;
use stillpoint_tests::site::{Said, Site};
use stillpoint_tests::sqlite::{self, Journal};

/// Runs one cycle with the hostile module on two databases with writers. Whatever it did, they go on.
fn cycle(name: &str) -> (Said, bool) {
    let folder = tempfile::tempdir().unwrap();
    let files = ["a.db", "b.db"].map(|f| folder.path().join(f));
    files.iter().for_each(|f| sqlite::make(f, Journal::Wal));
    let site = Site::with(&format!(
        "[workload {name}]\nworkload_name = hostile\ndbnames = {}, {}\nipc_folder = {}\nstall_budget = 1\ntimeout = 60\n",
        files[0].display(),
        files[1].display(),
        folder.path().display()
    ));
    let mut install = std::process::Command::new("cp");
    install.args(["--recursive", "--no-preserve=ownership"]).arg(dist::bundle("guests", "hostile"));
    succeed(install.arg(site.path("lib/modules")), "");
    let writers = files.each_ref().map(|f| sqlite::writers(f, 1));
    writers.iter().for_each(|w| w.get_on(5));
    let ran = site.path("ran");
    let said = site.json(&["run", "--", "touch", ran.to_str().unwrap()]);
    writers.iter().for_each(|w| w.get_on(5));
    let status = site.json(&["status"]);
    assert_eq!((status.code, &status.json["under_way"]), (Some(0), &serde_json::Value::Null), "{name}: {}", said.text);
    for log in writers.map(stillpoint_tests::writers::Writers::stop) {
        assert!(log.errors.is_empty(), "{name}: a writer saw {:?}", log.errors);
    }
    (said, ran.exists())
}

/// It fails before the snapshot: nothing is snapshotted, and the message says which phase and why.
fn refused(name: &str, words: &str) {
    let (said, ran) = cycle(name);
    assert_eq!((said.code, ran), (Some(4), false), "{name}: {}", said.text);
    assert_eq!(said.json["verdict"], "failed", "{name}: {}", said.text);
    let phase = name.split('-').next().unwrap();
    assert!(said.text.contains(&format!("{phase} ")) && said.text.contains(words), "{name}: {}", said.text);
}

const WAYS: [(&str, &str); 6] = [
    ("error", "this one always fails"),
    ("panic", "this one panics"),
    ("trap", "trapped"),
    ("loop", "ran longer than it may"),
    ("memory", "more memory than it may have"),
    ("stack", "trapped"),
];

#[test]
fn in_check() {
    WAYS.iter().for_each(|(way, words)| refused(&format!("check-{way}"), words));
}

#[test]
fn in_prepare_while_it_holds_something() {
    WAYS.iter().for_each(|(way, words)| refused(&format!("prepare-{way}"), words));
}

#[test]
fn in_freeze_while_writes_are_stopped() {
    WAYS.iter().for_each(|(way, words)| refused(&format!("freeze-{way}"), words));
}

/// The copy was whole when it was cut, and the host took back what the module left: nothing is lost by it.
#[test]
fn in_thaw() {
    for (way, words) in WAYS.iter().chain([&("forget", ""), &("state", "not changed in thaw")]) {
        let name = format!("thaw-{way}");
        let (said, ran) = cycle(&name);
        assert_eq!((said.code, ran), (Some(0), true), "{name}: {}", said.text);
        assert_eq!(said.json["verdict"], "application-consistent", "{name}: {}", said.text);
        assert!(said.text.contains(words), "{name}: {}", said.text);
    }
}

#[test]
fn what_is_not_allowed_is_refused() {
    refused("check-freeze", "no place in check");
    refused("freeze-undeclared", "drop_table");
    refused("freeze-elsewhere", "not in dbnames");
}

#[test]
fn who_says_frozen_and_is_not_is_not_believed() {
    refused("freeze-nothing", "froze nothing");
    refused("freeze-little", "makes a copy consistent");
    refused("freeze-half", "b.db");
    refused("freeze-and-thaw", "froze nothing");
}

/// Beyond the limit it is not kept.
#[test]
fn a_flood_of_log_lines_does_no_harm() {
    let (said, ran) = cycle("freeze-log");
    assert!(matches!(said.code, Some(0 | 4)), "{}", said.text);
    assert_eq!(ran, said.code == Some(0));
    assert!(said.text.len() < 1 << 20, "{} bytes were kept", said.text.len());
}
