use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn manifest(path: &Path) -> Manifest {
    Manifest::parse(&std::fs::read_to_string(path).expect("readable")).expect("good")
}

/// Compares with what is in the tree, or with STILLPOINT_RENEW_PAGES=1 writes it anew.
fn golden(path: &Path, is: &str) {
    let was = std::fs::read_to_string(path).unwrap_or_default();
    if was == is {
        return;
    }
    if std::env::var_os("STILLPOINT_RENEW_PAGES").is_some() {
        std::fs::write(path, is).expect("writable");
    }
    let (was, is): (Vec<&str>, Vec<&str>) = (was.lines().collect(), is.lines().collect());
    for line in was.iter().filter(|l| !is.contains(l)) {
        eprintln!("- {line}");
    }
    for line in is.iter().filter(|l| !was.contains(l)) {
        eprintln!("+ {line}");
    }
    assert!(
        std::env::var_os("STILLPOINT_RENEW_PAGES").is_some(),
        "{} is another page now: the authority changed, or how it is shown. If it must be so, renew it with\n\
         STILLPOINT_RENEW_PAGES=1 cargo test -p stillpoint --lib trust::page -- --nocapture",
        path.display()
    );
}

#[test]
fn the_page_of_every_module_is_in_the_tree() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("modules")).expect("modules") {
        let folder = entry.expect("entry").path();
        let source = folder.join("module.toml");
        if source.exists() {
            golden(&folder.join("page.txt"), &Page::of(&manifest(&source), None, None).text());
            seen += 1;
        }
    }
    assert!(seen >= 2, "{seen}");
}

#[test]
fn no_module_of_ours_has_a_danger() {
    for entry in std::fs::read_dir(root().join("modules")).expect("modules") {
        let source = entry.expect("entry").path().join("module.toml");
        if source.exists() {
            let found = findings(&manifest(&source));
            let dangers: Vec<&Finding> = found.iter().filter(|f| f.severity == Severity::Danger).collect();
            assert!(dangers.is_empty(), "{}: {dangers:#?}", source.display());
        }
    }
}

/// A manifest that has something of everything, and markup where a page could trip.
fn small() -> Manifest {
    manifest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/trust/page/small/module.toml"))
}

fn standing() -> Standing {
    let signature = |file: &str, who: Option<&str>, why: Option<&str>| Signature {
        file: file.into(),
        principal: who.map(str::to_owned),
        fingerprint: Some("SHA256:abc".into()),
        why_not: why.map(str::to_owned),
    };
    Standing {
        root: Some(Root { name: "development".into(), development: true }),
        signatures: vec![
            signature("ana.sig", Some("ana@example.org"), None),
            signature("mallory.sig", None, Some("an unknown key")),
        ],
        reviewers_needed: 2,
        reviewers: 1,
        role: Some(Role { name: "security".into(), met: false }),
        floor: Some(3),
        expired: false,
        revoked: None,
        granted: Some(false),
        problem: Some(Problem { id: "SP-TRUST-004".into(), words: "one reviewer is missing.".into() }),
    }
}

#[test]
fn the_forms_of_a_page_stay_as_they_are() {
    let page = Page::of(&small(), Some(&"ab".repeat(32)), Some(&standing()));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/trust/page/small");
    golden(&folder.join("page.txt"), &page.text());
    golden(&folder.join("page.html"), &page.html());
    let json = serde_json::to_string_pretty(&page).expect("json");
    golden(&folder.join("page.json"), &(json + "\n"));
}

#[test]
fn markup_of_a_manifest_is_text_on_the_page() {
    let page = Page::of(&small(), None, Some(&standing()));
    let html = page.html();
    assert!(small().statements.values().any(|s| s.text.contains("</pre><script>")), "the sample lost its markup");
    assert!(!html.to_lowercase().contains("<script"), "{html}");
    assert!(html.contains("&lt;/pre&gt;&lt;script&gt;"), "{html}");
}

#[test]
fn a_development_root_and_what_is_missing_are_said_first() {
    let text = Page::of(&small(), None, Some(&standing())).text();
    let before = text.split("authors").next().unwrap_or_default();
    for words in [
        "DEVELOPMENT",
        "throwaway",
        "WOULD NOT RUN HERE",
        "SP-TRUST-004",
        "DOES NOT COUNT: an unknown key",
        "1 reviewers count, 2 needed",
    ] {
        assert!(before.contains(words), "{words}: {text}");
    }
    let mut real = standing();
    real.root = Some(Root { name: "example".into(), development: false });
    real.problem = None;
    let text = Page::of(&small(), None, Some(&real)).text();
    assert!(!text.contains("DEVELOPMENT") && !text.contains("WOULD NOT RUN"), "{text}");
}

#[test]
fn every_statement_stands_whole_on_the_page() {
    let whole = |text: &str| text.split_whitespace().collect::<String>();
    let manifest = manifest(&root().join("modules/mariadb/module.toml"));
    let text = whole(&Page::of(&manifest, None, None).text());
    for (name, statement) in &manifest.statements {
        assert!(text.contains(&whole(&statement.text)), "{name}");
    }
}

/// Keys of a manifest below which the author chooses the names.
const NAMED: [&str; 7] = ["statements", "sessions", "parameters", "environment", "states", "needed", "arguments"];

/// Every value of a manifest, and the names in each of those: where it is, and of what it is one.
fn places(value: &Value, at: &str, like: &str, out: &mut Vec<(String, String)>) {
    let named = NAMED.iter().any(|n| like.ends_with(&format!("/{n}")));
    match value {
        Value::Object(all) if !all.is_empty() => {
            if named {
                out.push((at.into(), like.into()));
            }
            for (name, inner) in all {
                let below = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                places(inner, &below, &format!("{like}/{}", if named { "*" } else { name }), out);
            }
        }
        Value::Array(all) if !all.is_empty() => {
            for (i, inner) in all.iter().enumerate() {
                places(inner, &format!("{at}/{i}"), &format!("{like}/-"), out);
            }
        }
        _ => out.push((at.into(), like.into())),
    }
}

/// What could stand there instead: of these the first that can.
fn others(value: &Value) -> Vec<Value> {
    let words = "' atomic files session command standard-error standard-output option-file ask-pass csv quoted read change \
                 nothing writes expires disk identifier bytes text log clock scratch new-machine";
    match value {
        Value::String(text) => std::iter::once(json!(format!("{text}x")))
            .chain(words.split_whitespace().map(|w| json!(w)))
            .chain([json!({ "integer": 7 }), Value::Null])
            .collect(),
        Value::Number(n) => n.as_i64().map(|n| vec![json!(n - 1), json!(n + 1)]).unwrap_or_default(),
        Value::Bool(is) => vec![json!(!is)],
        Value::Object(all) => {
            let (mut all, first) = (all.clone(), all.keys().next().cloned().unwrap_or_default());
            let inner = all.remove(&first).unwrap_or_default();
            all.insert(format!("{first}x"), inner);
            vec![Value::Object(all)]
        }
        Value::Null | Value::Array(_) => Vec::new(),
    }
}

/// What is shown of a manifest, without what this build makes of it.
fn shown(manifest: &Manifest) -> [String; 2] {
    let mut page = Page::of(manifest, None, None);
    page.findings.clear();
    page.cannot.clear();
    page.trusted = Trusted { declared: Vec::new(), checked: Vec::new(), unseen: Vec::new() };
    page.statements.iter_mut().for_each(|s| s.checked = Checked::Unknown);
    [page.text(), page.html()]
}

/// No two manifests have the same page, unless one of them is refused. A key that no manifest here has is noticed, too.
#[test]
fn whatever_changes_in_a_manifest_changes_its_page() {
    let modules = std::fs::read_dir(root().join("modules")).expect("modules");
    let sources = modules.map(|entry| entry.expect("entry").path().join("module.toml")).filter(|p| p.exists());
    let (mut set, mut unset) = (BTreeSet::new(), BTreeSet::new());
    for manifest in sources.map(|source| manifest(&source)).chain([small()]) {
        let (tree, was) = (serde_json::to_value(&manifest).expect("json"), shown(&manifest));
        let mut all = Vec::new();
        places(&tree, "", "", &mut all);
        for (at, like) in all {
            let with = |other| {
                let mut tree = tree.clone();
                *tree.pointer_mut(&at)? = other;
                serde_json::from_value::<Manifest>(tree).ok().filter(|m| *m != manifest)
            };
            let value = tree.pointer(&at).expect("there");
            let Some(other) = others(value).into_iter().find_map(with) else {
                assert!([json!(null), json!([]), json!({})].contains(value), "nothing else can stand in {at}: {value}");
                unset.insert(like);
                continue;
            };
            let is = shown(&other);
            let refused = || Manifest::parse(&toml::to_string(&other).expect("toml")).is_err();
            assert!((0..2).all(|i| is[i] != was[i]) || refused(), "{}: {at} is on no page: {value}", manifest.name);
            set.insert(like);
        }
    }
    unset.retain(|key| !set.iter().any(|k| k.starts_with(key)));
    assert!(unset.is_empty(), "no manifest here has {unset:?}, so nobody knows whether it is on the page");
}
