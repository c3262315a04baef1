//! Which modules may run: only what a [`Verified`] proves.
//!
//! In this order: owner and mode of every file on the way; signatures over the raw bytes of the manifest; the manifest,
//! strictly; its expiry; the component, read once, hashed and compared: that buffer is what runs.
//!
//! | id | what |
//! |---|---|
//! | `SP-TRUST-001` | there is no such module |
//! | `SP-TRUST-002` | others could have written it |
//! | `SP-TRUST-003` | a file of it is missing or too long |
//! | `SP-TRUST-004` | no signature of a known reviewer |
//! | `SP-TRUST-005` | the manifest is refused |
//! | `SP-TRUST-006` | it has expired |
//! | `SP-TRUST-007` | the component is not the one that was signed |
//! | `SP-TRUST-008` | the list of reviewers cannot be used |

mod signers;

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ssh_key::SshSig;
use stillpoint_contract::{Manifest, NAMESPACE};

use crate::fault::{Exit, Fault};
use crate::sys::ownership;

const LARGEST_MANIFEST: u64 = 1024 * 1024;
const LARGEST_COMPONENT: u64 = 48 * 1024 * 1024;

/// A module that was verified. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct Verified {
    manifest: Manifest,
    wasm: Vec<u8>,
    signers: Vec<String>,
}

impl Verified {
    /// What it may do.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The component: the very bytes that were hashed.
    pub fn wasm(&self) -> &[u8] {
        &self.wasm
    }

    /// The reviewers who signed it.
    pub fn signers(&self) -> &[String] {
        &self.signers
    }
}

fn fault(id: &str, what: String) -> Fault {
    Fault::new(id, Exit::Untrusted, what).done("Nothing was frozen.")
}

/// The installed module that serves this `workload_name`: the highest version. What is read here only chooses; nothing
/// of it is believed before [`verify`].
///
/// # Errors
/// `SP-TRUST-001`.
pub fn find(workload_name: &str, modules: &Path) -> Result<PathBuf, Fault> {
    let mut found: Option<(Vec<u32>, PathBuf)> = None;
    for entry in std::fs::read_dir(modules).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(bytes) = file(&path, "module.toml", LARGEST_MANIFEST) else { continue };
        let Some(manifest) = String::from_utf8(bytes).ok().and_then(|t| Manifest::parse(&t).ok()) else {
            // A broken bundle that bears the name must not be passed over in silence for an older one.
            if entry.file_name().to_string_lossy().starts_with(&format!("{workload_name}-")) {
                return Ok(path);
            }
            continue;
        };
        if manifest.workloads.iter().any(|w| w == workload_name) {
            let version: Vec<u32> = manifest.version.split('.').filter_map(|p| p.parse().ok()).collect();
            if found.as_ref().is_none_or(|(v, _)| *v < version) {
                found = Some((version, path));
            }
        }
    }
    found.map(|(_, path)| path).ok_or_else(|| {
        fault(
            "SP-TRUST-001",
            format!("no module for workload_name = {workload_name} is installed in {}.", modules.display()),
        )
        .next("install one, or name its bundle with  module =")
    })
}

/// Verifies a bundle against the reviewers in `allowed_signers`.
///
/// # Errors
/// `SP-TRUST-…`: the first that does not hold.
pub fn verify(bundle: &Path, allowed_signers: &Path) -> Result<Verified, Fault> {
    if !bundle.is_dir() {
        return Err(fault("SP-TRUST-001", format!("there is no module in {}.", bundle.display())));
    }
    let signatures = bundle.join("signatures");
    for path in [&bundle.join("module.toml"), &bundle.join("module.wasm"), &signatures, &allowed_signers.to_owned()] {
        if path.exists() {
            ownership::check(path, &[]).map_err(|p| {
                fault("SP-TRUST-002", format!("others could have written it: {p}.")).next("let only root write there")
            })?;
        }
    }
    let reviewers = signers::read(allowed_signers)
        .map_err(|e| fault("SP-TRUST-008", format!("{} cannot be used: {e}.", allowed_signers.display())))?;
    let bytes = file(bundle, "module.toml", LARGEST_MANIFEST)?;
    let signed_by = signed_by(&signatures, &bytes, &reviewers);
    if signed_by.is_empty() {
        let what = format!("{} is not signed by anybody in {}.", bundle.display(), allowed_signers.display());
        return Err(fault("SP-TRUST-004", what).next("have it signed by a reviewer whom this machine knows"));
    }
    let text = String::from_utf8(bytes).map_err(|_| fault("SP-TRUST-005", "its manifest is not UTF-8.".into()))?;
    let manifest =
        Manifest::parse(&text).map_err(|e| fault("SP-TRUST-005", format!("its manifest is refused: {e}.")))?;
    if let Some(expires) = &manifest.expires {
        let last: jiff::civil::Date = expires
            .parse()
            .map_err(|_| fault("SP-TRUST-005", format!("its manifest is refused: expires = {expires} is no date.")))?;
        if jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date() > last {
            return Err(fault("SP-TRUST-006", format!("{} {} expired on {expires}.", manifest.name, manifest.version))
                .next("install a newer version"));
        }
    }
    let wasm = file(bundle, "module.wasm", LARGEST_COMPONENT)?;
    let Some(signed) = &manifest.wasm else {
        return Err(fault("SP-TRUST-007", "its manifest names no component: it was never packaged.".into()));
    };
    if wasm.len() as u64 != signed.size || hex::encode(Sha256::digest(&wasm)) != signed.sha256 {
        let what = format!(
            "its component is not the one that was signed: {} bytes, and {} were signed.",
            wasm.len(),
            signed.size
        );
        return Err(fault("SP-TRUST-007", what).next("install the module again"));
    }
    Ok(Verified { manifest, wasm, signers: signed_by })
}

fn file(bundle: &Path, name: &str, largest: u64) -> Result<Vec<u8>, Fault> {
    let path = bundle.join(name);
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(&path)?.take(largest + 1).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 <= largest => Ok(bytes),
        Ok(_) => Err(fault("SP-TRUST-003", format!("{} is longer than {largest} bytes.", path.display()))),
        Err(e) => {
            Err(fault("SP-TRUST-003", format!("{} cannot be read: {e}.", path.display()))
                .next("install the module again"))
        }
    }
}

/// The distinct reviewers whose signature over these bytes holds.
fn signed_by(signatures: &Path, bytes: &[u8], reviewers: &[signers::Reviewer]) -> Vec<String> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(signatures).into_iter().flatten().flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let Ok(signature) = text.parse::<SshSig>() else { continue };
        for reviewer in reviewers {
            if reviewer.key.verify(NAMESPACE, bytes, &signature).is_ok() && !out.contains(&reviewer.principal) {
                out.push(reviewer.principal.clone());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
