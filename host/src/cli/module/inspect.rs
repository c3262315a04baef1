//! `module inspect`: the authority page, also of what nobody has signed yet.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use stillpoint_contract::Manifest;

use crate::cli::{Context, Output, screen};
use crate::fault::{Exit, Fault};
use crate::trust::bundle::Bundle;
use crate::trust::page::{Page, Problem, Role, Root, Signature, Standing};
use crate::trust::{self, grant};

const LARGEST_MANIFEST: u64 = 1024 * 1024;

pub fn inspect(context: &Context, bundle: &Path, html: Option<&Path>) -> Result<Exit, Fault> {
    let page = page(context, bundle)?;
    write(&page, html)?;
    let said = match context.output {
        Output::Json => screen::say(serde_json::to_string(&page).unwrap_or_default()),
        Output::Text => screen::say(page.text().trim_end()),
    };
    Ok(if said { Exit::Done } else { Exit::Internal })
}

/// The page of a module that was verified, for who is asked whether it may be installed.
pub fn of(context: &Context, module: &trust::Verified) -> Page {
    let digest = trust::sha256(module.manifest_bytes());
    let standing = standing(context, module.path(), module.manifest(), module.manifest_bytes());
    Page::of(module.manifest(), Some(&digest), Some(&standing))
}

fn page(context: &Context, bundle: &Path) -> Result<Page, Fault> {
    let path = bundle.join("module.toml");
    let bytes = read(&path).map_err(|why| {
        Fault::new("SP-TRUST-003", Exit::Untrusted, format!("{} cannot be read: {why}.", path.display()))
            .next("name the folder that holds  module.toml")
    })?;
    let refused = |why: String| {
        Fault::new("SP-TRUST-005", Exit::Untrusted, format!("the manifest {} is refused.", path.display()))
            .at(trust::indented(&why))
            .next("there is no page of what no host would run: its author must mend it")
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("it is not UTF-8".into()))?;
    let manifest = Manifest::parse(text).map_err(|e| refused(e.to_string()))?;
    let digest = trust::sha256(&bytes);
    Ok(Page::of(&manifest, Some(&digest), Some(&standing(context, bundle, &manifest, &bytes))))
}

/// What is read is what is shown: once, and no pipe that would keep us waiting, also where somebody has just put one.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let no_file = || std::io::Error::other("it is no file");
    if !path.metadata()?.is_file() {
        return Err(no_file());
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = std::fs::File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(no_file());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_MANIFEST + 1).read_to_end(&mut bytes)?;
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

/// How these bytes of a manifest stand on this machine.
fn standing(context: &Context, path: &Path, manifest: &Manifest, bytes: &[u8]) -> Standing {
    let problem = |fault: Fault| Some(Problem { id: fault.id, words: fault.what });
    let root = match super::root(context) {
        Ok(root) => root,
        Err(fault) => return Standing { problem: problem(fault), ..Standing::default() },
    };
    let mut out = Standing {
        reviewers_needed: root.policy.reviewers,
        floor: root.floors.of(&manifest.name).ok().filter(|floor| *floor > 0),
        expired: trust::expired(manifest).is_some(),
        ..Standing::default()
    };
    let mut development = root.policy.development;
    let changed = || {
        let words = format!("{} was changed while it was read.", path.join("module.toml").display());
        Some(Problem { id: "SP-TRUST-003".into(), words })
    };
    if let Ok(bundle) = Bundle::open(path) {
        // Who has signed something else has not signed what is shown.
        if bundle.manifest != bytes {
            return Standing { problem: changed(), ..out };
        }
        let (looked, people) = root.signatures(&bundle, manifest);
        development |= trust::is_development(&people);
        out.reviewers = u32::try_from(people.len()).unwrap_or(u32::MAX);
        out.role = root
            .policy
            .role
            .as_ref()
            .map(|role| Role { name: role.clone(), met: people.iter().any(|p| root.policy.has(&p.principal, role)) });
        let signed = manifest.wasm.as_ref().map(|w| w.sha256.as_str()).unwrap_or_default();
        let revoked = root.revocations.digest(&[&trust::sha256(&bundle.manifest), signed]);
        out.revoked = revoked.map(str::to_owned);
        out.signatures = looked.into_iter().map(signature).collect();
    }
    out.root = Some(Root { name: root.policy.name.clone(), development });
    if manifest.wasm.is_none() {
        return out;
    }
    match trust::verify(path, &root) {
        Ok(module) if module.manifest_bytes() != bytes => out.problem = changed(),
        Ok(module) => {
            let granted = grant::check(&context.places.grants(), &module);
            out.granted = Some(granted.is_ok());
        }
        Err(fault) => out.problem = problem(fault),
    }
    out
}

fn signature(looked: trust::Signature) -> Signature {
    let (principal, fingerprint) = match looked.signer {
        Some(signer) => (Some(signer.principal), Some(signer.fingerprint)),
        None => (None, None),
    };
    Signature { file: looked.file, principal, fingerprint, why_not: looked.problem }
}
