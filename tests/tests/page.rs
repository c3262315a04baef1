//! The authority page: what a reviewer sees of a module before anybody trusts it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use serde_json::Value;
use stillpoint_tests::dist;
use stillpoint_tests::program::{Ended, run};
use stillpoint_tests::site::Site;

/// Every door that was planted in `guests/backdoor`: where it is, and a word of what is said of it.
const DOORS: [(&str, &str); 14] = [
    ("client.arguments", "--init-comm=SET SESSION sql_log_bin = 0: runs a statement"),
    ("privileges.make", "SUPER"),
    ("statements.server", "LOAD_FILE reads a file"),
    ("statements.connection_id", "is not known to give that session's own id"),
    ("statements.durable", "without asking the server"),
    ("statements.accounts", "digests of passwords"),
    ("statements.long_statements", "a comment whose content is run"),
    ("statements.long_statements", "GET_LOCK takes a lock"),
    ("statements.lock_wait", "GENERAL_LOG_FILE for everybody"),
    ("statements.rotate_log", "PURGE does more than a backup needs"),
    ("statements.stage_start", "its proof holds proves nothing"),
    ("statements.stage_block_commit", "its proof holds proves nothing"),
    ("statements.make_read_only", "leaves EVENT_SCHEDULER"),
    ("statements.make_read_only", "to what was there before"),
];

fn inspect(site: &Site, bundle: &Path) -> Value {
    let said = site.json(&["module", "inspect", bundle.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    said.json
}

/// For people.
fn plain(site: &Site, arguments: &[&str]) -> Ended {
    run(&mut site.command(arguments), "")
}

fn dangers(page: &Value) -> Vec<String> {
    let of = |f: &Value| format!("{}: {}", f["at"].as_str().unwrap(), f["words"].as_str().unwrap());
    page["findings"].as_array().unwrap().iter().filter(|f| f["severity"] == "danger").map(of).collect()
}

#[test]
fn a_reviewer_finds_every_planted_door_on_the_page() {
    let site = Site::new();
    let bundle = dist::bundle("guests", "backdoor");
    let page = inspect(&site, &bundle);
    let found = page["findings"].as_array().unwrap();
    for (at, words) in DOORS {
        let named = |f: &Value| f["at"] == at && f["words"].as_str().unwrap().contains(words);
        assert!(found.iter().any(named), "{at}, {words}: {found:#?}");
    }
    // On paper, too: with its place, and no letter of it cut.
    let text = plain(&site, &["module", "inspect", bundle.to_str().unwrap()]).stdout;
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (at, words) in DOORS {
        assert!(flat.contains(&format!("{at}: ")) && flat.contains(words), "{at}, {words}: {text}");
    }
    // What was not planted is not accused.
    let accused = dangers(&page);
    let innocent = ["statements.version", "statements.data_paths", "statements.is_read_only", "statements.kill"];
    assert!(!accused.iter().any(|d| innocent.iter().any(|i| d.starts_with(&format!("{i}:")))), "{accused:#?}");
}

#[test]
fn our_own_modules_have_no_danger() {
    let site = Site::new();
    for bundle in dist::bundles("modules") {
        let found = dangers(&inspect(&site, &bundle));
        assert!(found.is_empty(), "{}: {found:#?}", bundle.display());
    }
}

#[test]
fn a_source_that_nobody_packaged_has_a_page_too() {
    let site = Site::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/sqlite");
    let said = plain(&site, &["module", "inspect", source.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("NOT PACKAGED") && said.stdout.contains("BEGIN IMMEDIATE"), "{said:?}");
}

#[test]
fn a_bundle_that_nobody_trusts_is_shown_and_that_is_said_first() {
    let site = Site::new();
    std::fs::write(site.path("etc/trust/allowed_signers"), "").unwrap();
    let file = site.path("page.html");
    let bundle = dist::bundle("modules", "mariadb");
    let said = plain(&site, &["module", "inspect", bundle.to_str().unwrap(), "--html", file.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let first = said.stdout.split("manifest ").next().unwrap();
    assert!(first.contains("WOULD NOT RUN HERE") && first.contains("SP-TRUST-004"), "{said:?}");
    let html = std::fs::read_to_string(file).unwrap();
    assert!(html.contains("WOULD NOT RUN HERE") && html.contains("BACKUP STAGE BLOCK_COMMIT"), "{html}");
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"), "{html}");
}

#[test]
fn what_is_no_module_is_refused_in_words() {
    let site = Site::new();
    let said = plain(&site, &["module", "inspect", site.path("etc").to_str().unwrap()]);
    assert!(said.code == Some(3) && said.stderr.contains("SP-TRUST-003"), "{said:?}");
    std::fs::write(site.path("etc/module.toml"), "format = 1\n").unwrap();
    let said = plain(&site, &["module", "inspect", site.path("etc").to_str().unwrap()]);
    assert!(said.code == Some(3) && said.stderr.contains("SP-TRUST-005"), "{said:?}");
    assert!(said.stderr.contains("\n  TOML parse error at line 1, column 1\n"), "line by line: {said:?}");
}
