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
//! | `SP-TRUST-004` | no signature of a known reviewer: which there are, and why none counts |
//! | `SP-TRUST-005` | the manifest is refused |
//! | `SP-TRUST-006` | it has expired |
//! | `SP-TRUST-007` | the component is not the one that was signed: never packaged, truncated, changed |
//! | `SP-TRUST-008` | the list of reviewers cannot be used |

pub mod dialect;
pub mod finding;
pub mod page;
mod signers;

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ssh_key::{HashAlg, SshSig};
use stillpoint_contract::{Manifest, NAMESPACE};

use crate::fault::{Exit, Fault};
use crate::sys::ownership;

const LARGEST_MANIFEST: u64 = 1024 * 1024;
const LARGEST_COMPONENT: u64 = 48 * 1024 * 1024;
const LARGEST_SIGNATURE: u64 = 64 * 1024;
const LARGEST_SIGNERS: u64 = 1024 * 1024;

/// The most signatures that are looked at.
const MOST_SIGNATURES: usize = 64;

/// A module that was verified. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct Verified {
    path: PathBuf,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    wasm: Vec<u8>,
    signers: Vec<Signer>,
}

/// A reviewer whose signature held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Who.
    pub principal: String,
    /// The key, as `ssh-keygen -l` prints it: `SHA256:…`.
    pub fingerprint: String,
}

impl Verified {
    /// The bundle's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it may do.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes that were signed.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// The component: the very bytes that were hashed.
    pub fn wasm(&self) -> &[u8] {
        &self.wasm
    }

    /// The distinct reviewers who signed it: at least one.
    pub fn signers(&self) -> &[Signer] {
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
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(modules).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths.into_iter().filter(|p| p.is_dir()) {
        let read = file(&path.join("module.toml"), LARGEST_MANIFEST).ok().and_then(|b| String::from_utf8(b).ok());
        let Some(manifest) = read.and_then(|text| Manifest::parse(&text).ok()) else {
            // A broken bundle that bears the name must not be passed over in silence for an older one.
            if bears(&path, workload_name) {
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
        let what = format!("no module for workload_name = {workload_name} is installed in {}.", modules.display());
        fault("SP-TRUST-001", what).next("install one, or name its bundle with  module =")
    })
}

/// Whether the folder is called NAME-VERSION.
fn bears(path: &Path, name: &str) -> bool {
    let folder = path.file_name().unwrap_or_default().to_string_lossy();
    folder
        .strip_prefix(name)
        .and_then(|r| r.strip_prefix('-'))
        .is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()))
}

/// Verifies a bundle against the reviewers in `allowed_signers`.
///
/// # Errors
/// `SP-TRUST-…`: the first that does not hold.
pub fn verify(bundle: &Path, allowed_signers: &Path) -> Result<Verified, Fault> {
    if !bundle.is_dir() {
        let what = format!("there is no module in {}.", bundle.display());
        return Err(fault("SP-TRUST-001", what).next("install it, or name another bundle with  module ="));
    }
    let [manifest, component, folder] = ["module.toml", "module.wasm", "signatures"].map(|name| bundle.join(name));
    let signatures = signatures(&folder);
    for path in [allowed_signers, &manifest, &component, &folder].into_iter().chain(signatures.iter().map(|p| &**p)) {
        // What is not there is told below, in other words.
        if path.symlink_metadata().is_ok() {
            ownership::check(path, &[]).map_err(|p| {
                fault("SP-TRUST-002", format!("others could have written it: {p}.")).next("let only root write there")
            })?;
        }
    }
    let reviewers = reviewers(allowed_signers)?;
    let manifest_bytes = file(&manifest, LARGEST_MANIFEST).map_err(unread)?;
    let signers = signed_by(&signatures, &manifest_bytes, &reviewers).map_err(|why| {
        let what = format!("{} is not signed by a reviewer whom this machine knows: {why}.", bundle.display());
        let next = format!("install it again, or have it signed by somebody in {}", allowed_signers.display());
        fault("SP-TRUST-004", what).next(next)
    })?;
    let manifest = parse(&manifest_bytes)?;
    let wasm = wasm(&component, &manifest)?;
    Ok(Verified { path: bundle.to_owned(), manifest, manifest_bytes, wasm, signers })
}

/// The manifest, which must not have expired.
fn parse(bytes: &[u8]) -> Result<Manifest, Fault> {
    let refused = |why: String| {
        fault("SP-TRUST-005", format!("its manifest is refused: {why}."))
            .next("install a version made for this Stillpoint")
    };
    let text = std::str::from_utf8(bytes).map_err(|_| refused("it is not UTF-8".into()))?;
    let manifest = Manifest::parse(text).map_err(|e| refused(e.to_string()))?;
    if let Some(expires) = &manifest.expires {
        let last: jiff::civil::Date =
            expires.parse().map_err(|_| refused(format!("expires = {expires} is no date such as 2027-01-31")))?;
        if jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date() > last {
            let what = format!("{} {} expired: its last day was {expires}.", manifest.name, manifest.version);
            return Err(fault("SP-TRUST-006", what).next("install a newer version"));
        }
    }
    Ok(manifest)
}

/// The component: read once, and the one that was signed.
fn wasm(path: &Path, manifest: &Manifest) -> Result<Vec<u8>, Fault> {
    let wasm = file(path, LARGEST_COMPONENT).map_err(unread)?;
    let Some(signed) = &manifest.wasm else {
        let what = "its manifest has no [wasm] and so names no component: it was never packaged.".into();
        return Err(fault("SP-TRUST-007", what).next("package it, and sign what packaging wrote"));
    };
    let is = wasm.len() as u64;
    let how = match signed.size {
        size if is < size => format!("it is truncated, {is} of {size} bytes"),
        size if is > size => format!("it is longer, {is} instead of {size} bytes"),
        _ if hex::encode(Sha256::digest(&wasm)) != signed.sha256.to_ascii_lowercase() => "it was changed".into(),
        _ => return Ok(wasm),
    };
    let what = format!("its component is not the one that was signed: {how}.");
    Err(fault("SP-TRUST-007", what).next("install the module again"))
}

fn reviewers(path: &Path) -> Result<Vec<signers::Reviewer>, Fault> {
    let read = || {
        let text = String::from_utf8(file(path, LARGEST_SIGNERS)?).map_err(|_| "it is not UTF-8")?;
        signers::parse(&text, jiff::Timestamp::now())
    };
    read().map_err(|why| {
        fault("SP-TRUST-008", format!("the list of reviewers {} cannot be used: {why}.", path.display()))
            .next(format!("write there who may sign, one a line:  NAME namespaces=\"{NAMESPACE}\" ssh-ed25519 KEY"))
    })
}

fn unread(why: String) -> Fault {
    fault("SP-TRUST-003", format!("a file of the module is missing: {why}.")).next("install the module again")
}

fn file(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let read = || {
        // A pipe would keep us waiting.
        if !path.metadata()?.is_file() {
            return Err(std::io::Error::other("it is no file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(largest + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    if bytes.len() as u64 > largest {
        return Err(format!("{} is longer than {largest} bytes", path.display()));
    }
    Ok(bytes)
}

/// The signatures of a bundle, in the order of their names.
fn signatures(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "sig"))
        .collect();
    paths.sort();
    paths
}

/// The distinct reviewers whose signature over these bytes holds; without any, why.
fn signed_by(paths: &[PathBuf], bytes: &[u8], reviewers: &[signers::Reviewer]) -> Result<Vec<Signer>, String> {
    if paths.len() > MOST_SIGNATURES {
        return Err(format!("there are more than {MOST_SIGNATURES} signatures"));
    }
    let mut out: Vec<Signer> = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match signer(path, bytes, reviewers) {
            Ok(signer) if out.iter().any(|s| s.principal == signer.principal) => {}
            Ok(signer) => out.push(signer),
            Err(why) => problems.push(format!("{name} {why}")),
        }
    }
    match (out.is_empty(), problems.is_empty()) {
        (false, _) => Ok(out),
        (true, true) => Err("there is no signature".into()),
        (true, false) => Err(problems.join(", ")),
    }
}

/// Whose signature this is; else why it does not count.
fn signer(path: &Path, bytes: &[u8], reviewers: &[signers::Reviewer]) -> Result<Signer, String> {
    let text = file(path, LARGEST_SIGNATURE).map_err(|_| "cannot be read")?;
    let signature = SshSig::from_pem(text).map_err(|_| "is no signature of ssh-keygen")?;
    let fingerprint = signature.public_key().fingerprint(HashAlg::Sha256).to_string();
    let Some(reviewer) = reviewers.iter().find(|r| r.key.key_data() == signature.public_key()) else {
        return Err(format!("is by an unknown key, {fingerprint}"));
    };
    let who = &reviewer.principal;
    if signature.namespace() != NAMESPACE {
        return Err(format!("is by {who} for the namespace {:?}, not {NAMESPACE}", signature.namespace()));
    }
    if reviewer.key.verify(NAMESPACE, bytes, &signature).is_err() {
        return Err(format!("is by {who} over another manifest: this one was changed"));
    }
    if !reviewer.valid {
        return Err(format!("is by {who}, whose key is not valid today"));
    }
    Ok(Signer { principal: who.clone(), fingerprint })
}

#[cfg(test)]
mod tests;
