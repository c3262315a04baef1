//! What an update may do beyond its grant is named by `module diff`, and stops `module install`: one pair for each kind
//! of authority. What it may do less, or says otherwise, goes in without a word.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use stillpoint_tests::dist;
use stillpoint_tests::program::run;
use stillpoint_tests::reviewer::{MODULE, Reviewer};
use stillpoint_tests::said::Said;

/// A machine that has the real module for SQLite installed as two people have signed it.
struct Scene {
    folder: tempfile::TempDir,
    people: [Reviewer; 2],
}

impl Scene {
    fn new() -> Scene {
        let people = ["ana@example.org", "bo@example.org"].map(Reviewer::new);
        let scene = Scene { folder: tempfile::tempdir().unwrap(), people };
        let trust = scene.path("state/etc/trust");
        fs::create_dir_all(&trust).unwrap();
        fs::write(trust.join("allowed_signers"), scene.people.each_ref().map(|r| r.line("")).concat()).unwrap();
        let old = scene.publish("old", &scene.source());
        assert_eq!(scene.install(&old, &["--yes"]).code, Some(0));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn source(&self) -> String {
        fs::read_to_string(dist::bundle("modules", "sqlite").join("module.toml")).unwrap()
    }

    fn publish(&self, folder: &str, manifest: &str) -> PathBuf {
        let bundle = self.path(folder);
        let _ = fs::remove_dir_all(&bundle);
        fs::create_dir(&bundle).unwrap();
        fs::copy(dist::bundle("modules", "sqlite").join("module.wasm"), bundle.join("module.wasm")).unwrap();
        fs::write(bundle.join("module.toml"), manifest).unwrap();
        self.people.iter().for_each(|r| r.sign_in(&bundle, "module.toml", MODULE));
        bundle
    }

    /// The next release, with one thing changed.
    fn update(&self, from: &str, to: &str) -> PathBuf {
        let source = self.source();
        assert!(source.contains(from), "the test replaces what is not there: {from}");
        let next = source.replace("version   = \"1.0.0\"", "version   = \"1.1.0\"");
        self.publish("new", &next.replace("sequence  = 1", "sequence  = 2").replacen(from, to, 1))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(dist::program("stillpoint"));
        command.arg("--state-dir").arg(self.path("state")).args(arguments);
        command
    }

    fn call(&self, arguments: &[&str]) -> Said {
        Said::of(run(self.command(&["--output", "json"]).args(arguments), ""))
    }

    fn install(&self, bundle: &Path, how: &[&str]) -> Said {
        self.call(&[&["module", "install", bundle.to_str().unwrap()], how].concat())
    }

    fn diff(&self, new: &Path) -> Said {
        self.call(&["module", "diff", "sqlite", new.to_str().unwrap()])
    }

    fn version(&self) -> Value {
        self.call(&["module", "list"]).json["modules"][0]["version"].clone()
    }

    fn grant(&self) -> String {
        fs::read_to_string(self.path("state/etc/grants/sqlite.toml")).unwrap()
    }
}

/// What is changed, and where it is named.
const WIDER: [(&str, &str, &str, &str); 14] = [
    (
        "statement",
        "[wasm]",
        "[statements.vacuum]\nsession = \"main\"\ntext = \"VACUUM\"\neffect = \"change\"\n[wasm]",
        "statement vacuum",
    ),
    ("statement", "PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(TRUNCATE)", "statement checkpoint: text"),
    ("statement", "to = 600000", "to = 600001", "statement busy_timeout: parameter milliseconds"),
    ("effect", "effect  = \"change\"", "effect  = \"session\"", "statement checkpoint: effect"),
    ("effect", "lasts   = \"session\"", "lasts   = \"disk\"", "statement begin_immediate: lasts"),
    ("effect", "answer = \"unchanged\"", "answer = { integer = 1 }", "statement begin_immediate: holds"),
    ("argument", "\"-batch\", \"-safe\"", "\"-batch\"", "[client] arguments"),
    ("argument", "\"-safe\"", "\"-safe\", \"-cmd\", \".shell id\"", "[client] arguments"),
    ("program", "[\"sqlite3\"]", "[\"sqlite3\", \"sh\"]", "[client] programs"),
    ("import", "\"database\", \"log\"", "\"database\", \"state\", \"log\"", "[wasm] imports"),
    ("limit", "[wasm]", "[limits]\nmemory_mib = 64\n[wasm]", "[limits] memory_mib"),
    ("session", "[sessions.main]", "[sessions.other]\neach = \"database\"\n[sessions.main]", "session other"),
    ("workload", "workloads = [\"sqlite\"]", "workloads = [\"sqlite\", \"orders\"]", "workloads"),
    ("privilege", "[wasm]", "[privileges]\nmake = [\"GRANT ALL TO x\"]\nneeded = {}\n[wasm]", "[privileges] make"),
];

#[test]
fn what_is_more_is_named_and_stopped() {
    let scene = Scene::new();
    let granted = scene.grant();
    for (kind, from, to, place) in WIDER {
        let new = scene.update(from, to);
        let diff = scene.diff(&new);
        assert_eq!((diff.code, &diff.json["wider"]), (Some(0), &Value::Bool(true)), "{kind}: {}", diff.text);
        let named =
            diff.json["authority"].as_array().unwrap().iter().any(|c| c["place"] == place && c["wider"] == true);
        assert!(named, "{kind}, {place}: {}", diff.text);
        // What is asked about first installs is not asked about these.
        let said = scene.install(&new, &["--yes"]);
        assert_eq!((said.code, said.faults()), (Some(3), vec!["SP-TRUST-015".to_owned()]), "{kind}: {}", said.text);
        assert!(said.text.contains(place), "{kind}: {}", said.text);
        assert_eq!((scene.version(), scene.grant()), ("1.0.0".into(), granted.clone()), "{kind}");
    }
}

#[test]
fn what_is_less_goes_in_without_a_word() {
    for (from, to) in [
        ("\"database\", \"log\"", "\"database\""),
        ("to = 600000", "to = 1000"),
        ("[wasm]", "[limits]\nmemory_mib = 8\n[wasm]"),
        ("summary   = \"", "summary   = \"New: "),
        ("snapshots = [\"atomic\", \"per-volume\", \"files\"]", "snapshots = [\"atomic\"]"),
    ] {
        let scene = Scene::new();
        let new = scene.update(from, to);
        assert_eq!(scene.diff(&new).json["wider"], false, "{to}");
        // Without its log the real component cannot be loaded: that is told, too, and is not what is asked here.
        if to == "\"database\"" {
            continue;
        }
        let said = scene.install(&new, &[]);
        assert_eq!((said.code, &said.json["newly_granted"]), (Some(0), &Value::Bool(false)), "{to}: {}", said.text);
        assert_eq!(scene.version(), "1.1.0");
    }
}

#[test]
fn what_was_read_can_be_accepted() {
    let scene = Scene::new();
    let (_, from, to, place) = WIDER[1];
    let new = scene.update(from, to);
    let text = run(&mut scene.command(&["module", "install", new.to_str().unwrap()]), "");
    assert_eq!(text.code, Some(3));
    for words in ["wal_checkpoint(PASSIVE)", "wal_checkpoint(TRUNCATE)", place, "--accept-wider"] {
        assert!(text.text().contains(words), "{words}: {text:?}");
    }
    assert_eq!(scene.install(&new, &["--accept-wider"]).code, Some(0));
    assert!(scene.grant().contains("wal_checkpoint(TRUNCATE)"));
    // The one before is older now, whoever has signed it.
    let old = scene.publish("old", &scene.source());
    assert_eq!(scene.install(&old, &["--yes", "--accept-wider"]).faults(), ["SP-TRUST-013"]);
}

#[test]
fn without_a_grant_nothing_runs_and_a_grant_that_others_wrote_is_none() {
    let scene = Scene::new();
    let verify = || scene.call(&["module", "verify", "sqlite"]);
    assert_eq!(verify().code, Some(0));
    let grant = scene.path("state/etc/grants/sqlite.toml");
    fs::set_permissions(&grant, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!((verify().code, verify().faults()), (Some(3), vec!["SP-TRUST-016".to_owned()]));
    fs::set_permissions(&grant, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&grant, scene.grant().replace("BEGIN IMMEDIATE", "BEGIN")).unwrap();
    let said = verify();
    assert_eq!((said.code, said.faults()), (Some(3), vec!["SP-TRUST-015".to_owned()]));
    assert!(said.text.contains("statement begin_immediate: text"), "{}", said.text);
    fs::remove_file(&grant).unwrap();
    assert_eq!((verify().code, verify().faults()), (Some(3), vec!["SP-TRUST-015".to_owned()]));
    assert!(verify().text.contains("nobody has granted"), "{}", verify().text);
    let said = scene.call(&["module", "verify", "--signatures", "sqlite"]);
    assert_eq!((said.code, &said.json["granted"]), (Some(0), &Value::Bool(false)), "{}", said.text);
}
