//! `module inspect`: the authority page, also of what nobody has signed yet.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};
use stillpoint_contract::Manifest;

use crate::cli::{Context, Output, screen};
use crate::fault::{Exit, Fault};
use crate::trust;
use crate::trust::page::{Page, Problem, Root, Signature, Standing};

const LARGEST_MANIFEST: u64 = 1024 * 1024;

pub fn inspect(context: &Context, bundle: &Path, html: Option<&Path>) -> Exit {
    match page(context, bundle).and_then(|page| write(&page, html).map(|()| page)) {
        Ok(page) => {
            let said = match context.output {
                Output::Json => screen::say(serde_json::to_string(&page).unwrap_or_default()),
                Output::Text => screen::say(page.text().trim_end()),
            };
            if said { Exit::Done } else { Exit::Internal }
        }
        Err(fault) => screen::faults(context.output, &[fault]),
    }
}

fn page(context: &Context, bundle: &Path) -> Result<Page, Fault> {
    let path = bundle.join("module.toml");
    let bytes = read(&path).map_err(|why| {
        Fault::new("SP-TRUST-003", Exit::Untrusted, format!("{} cannot be read: {why}.", path.display()))
            .next("name the folder that holds  module.toml")
    })?;
    let refused = |why: String| {
        Fault::new("SP-TRUST-005", Exit::Untrusted, format!("the manifest {} is refused: {why}", path.display()))
            .next("there is no page of what no host would run: its author must mend it")
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("it is not UTF-8".into()))?;
    let manifest = Manifest::parse(text).map_err(|e| refused(e.to_string()))?;
    let digest = hex::encode(Sha256::digest(&bytes));
    Ok(Page::of(&manifest, Some(&digest), Some(&standing(context, bundle, &manifest))))
}

/// What is read is what is shown: once, and no pipe that would keep us waiting.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_MANIFEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_MANIFEST {
        return Err(std::io::Error::other("it is longer than a manifest may be"));
    }
    Ok(bytes)
}

fn write(page: &Page, html: Option<&Path>) -> Result<(), Fault> {
    let Some(path) = html else { return Ok(()) };
    std::fs::write(path, page.html()).map_err(|e| {
        Fault::new("SP-CLI-009", Exit::Usage, format!("the page cannot be written to {}: {e}.", path.display()))
            .next("name a file in a folder that you may write to, behind  --html")
    })
}

/// How it stands on this machine.
fn standing(context: &Context, bundle: &Path, manifest: &Manifest) -> Standing {
    let mut out = Standing { reviewers_needed: 1, ..Standing::default() };
    let signers = context.places.allowed_signers();
    if signers.exists() {
        let policy = std::fs::read_to_string(signers.with_file_name("policy.toml")).unwrap_or_default();
        let policy: toml::Table = policy.parse().unwrap_or_default();
        let text = |key: &str| policy.get(key).and_then(|v| v.as_str());
        out.root = Some(Root {
            name: text("name").unwrap_or("of this machine").to_owned(),
            development: policy.get("development").and_then(toml::Value::as_bool).unwrap_or(false),
        });
    }
    if manifest.wasm.is_none() {
        return out;
    }
    match trust::verify(bundle, &signers) {
        Ok(verified) => {
            let signed = |s: &trust::Signer| Signature {
                file: String::new(),
                principal: Some(s.principal.clone()),
                fingerprint: Some(s.fingerprint.clone()),
                why_not: None,
            };
            out.signatures = verified.signers().iter().map(signed).collect();
            out.reviewers = verified.signers().len() as u32;
        }
        Err(fault) => out.problem = Some(Problem { id: fault.id, words: fault.what }),
    }
    out
}
