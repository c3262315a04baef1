//! `module diff`: the change in authority, then the change in what a module says of itself.

use std::path::Path;

use stillpoint_contract::Manifest;

use super::folder;
use crate::cli::{Context, Output, screen};
use crate::fault::{Exit, Fault, plain, plain_lines};
use crate::trust::authority::{Authority, Change};
use crate::trust::finding::{Finding, findings};
use crate::trust::{self, bundle::Bundle};

pub fn diff(context: &Context, old: &Path, new: &Path) -> Result<Exit, Fault> {
    let (old, new) = (read(&folder(context, old))?, read(&folder(context, new))?);
    let changes = Authority::of(&old.0).changes(&Authority::of(&new.0));
    let about = about(&old, &new);
    let before = findings(&old.0);
    let found: Vec<Finding> = findings(&new.0).into_iter().filter(|f| !before.contains(f)).collect();
    match context.output {
        Output::Json => {
            let wider = changes.iter().any(|c| c.wider);
            let about: Vec<_> =
                about.iter().map(|(what, a, b)| serde_json::json!({ "what": what, "before": a, "after": b })).collect();
            screen::say(serde_json::json!({ "wider": wider, "authority": changes, "findings": found, "about": about }))
        }
        Output::Text => screen::say(text(&new.0, &changes, &found, &about).trim_end()),
    };
    Ok(Exit::Done)
}

/// A manifest as it is read, whether or not anybody has signed it: one looks before one signs.
fn read(path: &Path) -> Result<(Manifest, String), Fault> {
    let bundle = Bundle::open(path)?;
    let manifest = trust::parse(&bundle.manifest)?;
    Ok((manifest, trust::sha256(&bundle.manifest)))
}

/// What a module says about itself, where that differs.
fn about(old: &(Manifest, String), new: &(Manifest, String)) -> Vec<(&'static str, String, String)> {
    let of = |(m, digest): &(Manifest, String)| {
        let wasm = m.wasm.as_ref();
        [
            ("name", m.name.clone()),
            ("version", m.version.clone()),
            ("sequence", m.sequence.to_string()),
            ("expires", m.expires.clone().unwrap_or_else(|| "never".into())),
            ("authors", m.authors.join(", ")),
            ("summary", m.summary.clone()),
            ("manifest sha256", digest.clone()),
            ("wasm sha256", wasm.map(|w| w.sha256.clone()).unwrap_or_default()),
            ("wasm size", wasm.map(|w| w.size.to_string()).unwrap_or_default()),
            ("compiler", wasm.map(|w| w.compiler.clone()).unwrap_or_default()),
        ]
    };
    let pairs = of(old).into_iter().zip(of(new));
    pairs.filter(|((_, a), (_, b))| a != b).map(|((what, a), (_, b))| (what, a, b)).collect()
}

fn text(new: &Manifest, changes: &[Change], found: &[Finding], about: &[(&str, String, String)]) -> String {
    let (wider, less): (Vec<_>, Vec<_>) = changes.iter().partition(|c| c.wider);
    let mut out = match (wider.is_empty(), less.is_empty()) {
        (true, true) => format!("{} may do what it may do already.\n", new.name),
        (true, false) => format!("{} may do no more than before.\n", new.name),
        (false, _) => format!("{} may do MORE than before:\n", new.name),
    };
    for change in wider.into_iter().chain(less) {
        out += &format!("  {}\n", plain_lines(&change.to_string()));
    }
    if !found.is_empty() {
        out += "\nNew findings:\n";
    }
    for finding in found {
        let Finding { severity, at, words } = finding;
        out += &format!("  {:<6}  {}\n", severity.word(), plain(&format!("{at}: {words}")));
    }
    if !about.is_empty() {
        out += "\nWhat it says of itself:\n";
    }
    for (what, a, b) in about {
        out += &format!("  {what}\n        - {}\n        + {}\n", plain(a), plain(b));
    }
    out
}
