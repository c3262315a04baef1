//! `module.toml` of somebody whom nobody knows, and the page that a reviewer sees of it.

use maud::Render;
use stillpoint::fault::plain;
use stillpoint::trust::finding::{Severity, findings};
use stillpoint::trust::page::Page;
use stillpoint_contract::Manifest;
use stillpoint_contract::manifest::Refused;

/// - What is refused is refused with words.
/// - What is not refused has a page, the same each time: as text it holds each statement whole, and no character that
///   draws.
/// - As HTML it holds each statement and each argument, escaped, and nothing that a browser would run or fetch.
/// - As JSON it can be read back, and holds as many findings as there are.
/// - A statement that holds a backslash or a letter beyond ASCII is a danger.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let manifest = match Manifest::parse(text) {
        Ok(manifest) => manifest,
        Err(Refused::Syntax(why)) => return assert!(!why.is_empty()),
        Err(Refused::Rules(all)) => return assert!(!all.is_empty() && all.iter().all(|p| !p.is_empty())),
    };
    let page = Page::of(&manifest, Some(text), None);
    assert_eq!(page, Page::of(&manifest, Some(text), None), "not the same twice");
    shown(&manifest, &page);
    let found = findings(&manifest);
    let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&page).unwrap()).unwrap();
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(found.len()));
    for (name, statement) in &manifest.statements {
        let danger = found.iter().any(|f| f.at == format!("statements.{name}") && f.severity == Severity::Danger);
        let hides = !statement.text.is_ascii() || statement.text.contains('\\');
        assert!(danger || !hides, "{name} hides something: {}", statement.text);
    }
}

fn shown(manifest: &Manifest, page: &Page) {
    let (text, html) = (page.text(), page.html());
    let whole = |text: &str| plain(text).chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let flat = whole(&text.replace('\n', " "));
    for line in text.lines() {
        assert_eq!(line, plain(line), "it draws on the screen");
    }
    for name in ["<script", "<img", "<link", "<iframe", "<svg", "<object", "<form"] {
        assert!(!html.to_lowercase().contains(name), "{name}");
    }
    for statement in manifest.statements.values() {
        assert!(flat.contains(&whole(&statement.text)), "not on the page: {}", statement.text);
        assert!(html.contains(&plain(&statement.text).render().into_string()), "not in HTML: {}", statement.text);
    }
    for argument in &manifest.client.arguments {
        assert!(html.contains(&plain(argument).render().into_string()), "not in HTML: {argument}");
    }
}
