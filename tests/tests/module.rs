//! What is done with modules by command: signing as a reviewer, with the stock tool beside ours; listing, removing;
//! and that throwaway keys are named wherever they count.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Command;

use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::{dist, missing};

const MODULE: &str = "stillpoint.module.v1";

fn faults(site: &Site, arguments: &[&str]) -> Vec<String> {
    site.json(arguments).faults()
}

#[test]
fn a_reviewer_signs_with_the_stock_tool_or_with_ours() {
    let test = "a_reviewer_signs_with_the_stock_tool_or_with_ours";
    let Some(keygen) = missing::program(test, &["ssh-keygen"], "openssh-client") else { return };
    let site = Site::new();
    let bundle = site.path("to-review");
    let (shown, signatures) = (bundle.to_str().unwrap().to_owned(), bundle.join("signatures"));
    succeed(
        Command::new("cp").args(["-r", "--no-preserve=ownership"]).arg(dist::bundle("modules", "sqlite")).arg(&bundle),
        "",
    );
    fs::remove_dir_all(&signatures).unwrap();
    // Two people, who each make a key and hand its public half to whoever installs.
    let mut allowed = String::new();
    let key = |who: &str| site.path(who);
    for (who, kind) in [("ana", "ed25519"), ("bo", "ecdsa")] {
        succeed(Command::new(&keygen).args(["-q", "-t", kind, "-N", "", "-C", who, "-f"]).arg(key(who)), "");
        let public = fs::read_to_string(key(who).with_extension("pub")).unwrap();
        allowed += &format!("{who} namespaces=\"{MODULE}\" {public}");
    }
    let trust = site.path("etc/trust");
    fs::write(trust.join("allowed_signers"), allowed).unwrap();
    fs::write(trust.join("policy.toml"), "name = \"Example\"\nreviewers = 2\n").unwrap();
    assert_eq!(faults(&site, &["module", "install", &shown]), ["SP-TRUST-004"]);

    // Ana with ours, Bo by hand.
    let signed = site.json(&["module", "sign", &shown, "--key", key("ana").to_str().unwrap()]);
    assert_eq!(signed.code, Some(0), "{}", signed.text);
    assert_eq!(faults(&site, &["module", "verify", &shown]), ["SP-TRUST-004"], "one is not enough");
    let manifest = bundle.join("module.toml");
    succeed(Command::new(&keygen).args(["-q", "-Y", "sign", "-n", MODULE, "-f"]).arg(key("bo")).arg(&manifest), "");
    fs::rename(bundle.join("module.toml.sig"), signatures.join("bo.sig")).unwrap();

    // The stock tool says the same of both.
    let text = fs::read_to_string(&manifest).unwrap();
    for who in ["ana", "bo"] {
        let verify = |text: &str| {
            let mut command = Command::new(&keygen);
            command.args(["-Y", "verify", "-n", MODULE, "-I", who, "-f"]).arg(trust.join("allowed_signers"));
            run(command.arg("-s").arg(signatures.join(format!("{who}.sig"))), text).code
        };
        assert_eq!(verify(&text), Some(0), "{who}");
        assert_ne!(verify(&format!("{text} ")), Some(0), "{who}");
    }
    // What may be done was never granted to what these people sign: the grant is there, and it is within.
    let said = site.json(&["module", "install", &shown]);
    assert_eq!((said.code, &said.json["signed_by"]), (Some(0), &serde_json::json!(["ana", "bo"])), "{}", said.text);
    assert_eq!(site.json(&["module", "verify", "sqlite"]).code, Some(0));
    let keys = site.call(&["module", "keys"]).stdout;
    for words in ["Example: 2 people must have signed", "ana  ssh-ed25519 SHA256:", "bo  ecdsa-sha2-nistp256 SHA256:"] {
        assert!(keys.contains(words), "{words}: {keys}");
    }

    // Nobody signs what is not what it says it is.
    fs::write(bundle.join("module.wasm"), "another").unwrap();
    assert_eq!(faults(&site, &["module", "sign", &shown, "--key", key("ana").to_str().unwrap()]), ["SP-TRUST-007"]);
}

#[test]
fn throwaway_keys_are_named_wherever_they_count() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("a.db");
    sqlite::make(&file, Journal::Wal);
    let site = Site::with(&format!("[workload shop]\nworkload_name = sqlite\ndbnames = {}\n", file.display()));
    let told = |arguments: &[&str]| faults(&site, arguments).contains(&"SP-TRUST-021".to_owned());
    let every: [&[&str]; 3] = [&["check"], &["run", "--", "true"], &["module", "verify", "sqlite"]];
    for arguments in every {
        assert!(!told(arguments), "{arguments:?}: this is a development's installation");
    }
    // Somebody has copied those keys to where they have no place.
    fs::write(site.path("etc/trust/policy.toml"), "name = \"Example\"\nreviewers = 2\n").unwrap();
    for arguments in every {
        assert!(told(arguments), "{arguments:?}");
        let text = site.call(arguments).stdout;
        assert!(text.contains("throwaway keys"), "{arguments:?}: {text}");
    }
    assert!(site.call(&["module", "inspect", "sqlite"]).stdout.contains("DEVELOPMENT"));
    assert!(site.call(&["module", "list"]).stdout.contains("throwaway keys"));
}

#[test]
fn modules_are_listed_and_removed() {
    let site = Site::new();
    let listed = || {
        let said = site.json(&["module", "list"]);
        let modules = said.json["modules"].as_array().unwrap().clone();
        let name = |m: &serde_json::Value| m["module"].as_str().unwrap_or("?").to_owned();
        (said.code, modules.iter().map(name).collect::<Vec<_>>())
    };
    assert_eq!(
        listed(),
        (
            Some(0),
            ["firebird", "mariadb", "mysql", "oracle", "postgres", "redis", "sqlite"].map(str::to_owned).to_vec()
        )
    );
    assert_eq!(site.json(&["module", "remove", "mariadb"]).code, Some(0));
    assert_eq!(
        listed(),
        (Some(0), ["firebird", "mysql", "oracle", "postgres", "redis", "sqlite"].map(str::to_owned).to_vec())
    );
    assert_eq!(fs::read_dir(site.path("lib/compiled")).unwrap().count(), 6, "nothing is kept of it");
    assert!(site.path("etc/grants/mariadb.toml").exists(), "its grant stays");
    assert_eq!(site.json(&["module", "remove", "mariadb"]).code, Some(2));
    // It comes back within its grant, and nobody is asked.
    let bundle = dist::bundle("modules", "mariadb");
    let said = site.json(&["module", "install", bundle.to_str().unwrap()]);
    assert_eq!((said.code, &said.json["newly_granted"]), (Some(0), &false.into()), "{}", said.text);
    // One that may not run is listed as such.
    fs::remove_file(Path::new(&site.module("sqlite")).join("module.wasm")).unwrap();
    let said = site.json(&["module", "list"]);
    said.assert_fault(3, "SP-TRUST-003");
}

/// What was only tried is no reason to refuse what came before it.
#[test]
fn a_floor_rises_once_a_module_has_done_its_part() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("a.db");
    let site = Site::with(&format!("[workload shop]\nworkload_name = sqlite\ndbnames = {}\n", file.display()));
    let floor = site.path("lib/floors/sqlite");
    assert_eq!(site.json(&["run", "--", "true"]).code, Some(4), "there is no database");
    assert!(!floor.exists());
    sqlite::make(&file, Journal::Wal);
    assert_eq!(site.json(&["check"]).code, Some(0));
    assert!(!floor.exists(), "check changes nothing");
    assert_eq!(site.json(&["run", "--", "true"]).code, Some(0));
    assert_eq!(fs::read_to_string(floor).unwrap(), "1\n");
}

/// Nobody at a terminal, and nobody who said yes: the page is shown, nothing is installed.
#[test]
fn who_is_not_asked_has_not_agreed() {
    let site = Site::new();
    fs::remove_file(site.path("etc/grants/sqlite.toml")).unwrap();
    fs::remove_dir_all(site.module("sqlite")).unwrap();
    let bundle = dist::bundle("modules", "sqlite");
    let said = site.call(&["module", "install", bundle.to_str().unwrap()]);
    assert_eq!(said.code, Some(3), "{said:?}");
    for words in ["BEGIN IMMEDIATE", "FREEZES (1)", "cannot"] {
        assert!(said.stdout.contains(words), "the page holds {words}: {}", said.stdout);
    }
    assert!(said.stderr.contains("--yes"), "{}", said.stderr);
    assert!(!site.module("sqlite").exists() && !site.path("etc/grants/sqlite.toml").exists());
    assert_eq!(site.call(&["module", "install", "--yes", bundle.to_str().unwrap()]).code, Some(0));
    assert!(site.module("sqlite").exists() && site.path("etc/grants/sqlite.toml").exists());
}
