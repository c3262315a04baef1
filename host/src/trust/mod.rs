//! Which modules may run: only what a [`Verified`] proves, and only what a [`grant`] lets it do.
//!
//! In this order: owner and mode of every file on the way; signatures over the raw bytes of the manifest, by as many
//! distinct people as the [`mod@policy`] asks for; the manifest, strictly; its expiry; what is [`revoked`]; the [`floor`];
//! the component, read once, hashed and compared: that buffer is what runs. Nothing of it is parsed here at all.
//!
//! | id | what |
//! |---|---|
//! | `SP-TRUST-001` | there is no such module, or it is not clear which |
//! | `SP-TRUST-002` | others could have written it |
//! | `SP-TRUST-003` | a file of it is missing, too long, or no plain file |
//! | `SP-TRUST-004` | not enough reviewers have signed: who has, and why the others do not count |
//! | `SP-TRUST-005` | the manifest is refused |
//! | `SP-TRUST-006` | it has expired |
//! | `SP-TRUST-007` | the component is not the one that was signed: never packaged, truncated, changed |
//! | `SP-TRUST-008` | the list of reviewers cannot be used |
//! | `SP-TRUST-009` | it wants what this version does not do |
//! | `SP-TRUST-010` | the policy cannot be used |
//! | `SP-TRUST-011` | the list of revocations cannot be used |
//! | `SP-TRUST-012` | it is revoked |
//! | `SP-TRUST-013` | it is older than one that was trusted before |
//! | `SP-TRUST-014` | a floor cannot be read or raised |
//! | `SP-TRUST-015` | it is not granted, or wants more than it was granted |
//! | `SP-TRUST-016` | a grant cannot be read or written |
//! | `SP-TRUST-017` | an unsigned module where none may run |
//! | `SP-TRUST-018` | the installed modules cannot be changed |
//! | `SP-TRUST-019` | it cannot be signed |
//! | `SP-TRUST-020` | warning: it is not signed |
//! | `SP-TRUST-021` | warning: throwaway keys of a development have signed it |
//! | `SP-TRUST-022` | warning: it has expired |

pub mod authority;
pub mod bundle;
pub mod dialect;
pub mod finding;
pub mod floor;
pub mod grant;
pub mod page;
pub mod policy;
pub mod revoked;
pub mod signature;
pub mod signers;
pub mod store;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stillpoint_contract::{Manifest, NAMESPACE};

use crate::fault::{Exit, Fault};
use crate::sys::ownership;
use bundle::Bundle;
use floor::Floors;
use policy::{Expired, Policy};
use revoked::Revocations;
pub use signature::{Signature, Signer};

const LARGEST_SIGNERS: u64 = 1024 * 1024;

/// People whose name ends so have keys that were made to be thrown away.
const DEVELOPMENT: &str = "@development";

/// Whom this machine trusts, and how far: read once, used for every module.
#[derive(Debug, Clone)]
pub struct Root {
    /// What is asked for.
    pub policy: Policy,
    /// The people and their keys.
    pub reviewers: Vec<signers::Reviewer>,
    /// What is trusted no more.
    pub revocations: Revocations,
    /// The lowest sequences.
    pub floors: Floors,
    folder: PathBuf,
}

/// A module that was verified. Only [`verify`] makes one, and [`unsigned`].
#[derive(Debug, Clone)]
pub struct Verified {
    path: PathBuf,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    wasm: Vec<u8>,
    signers: Vec<Signer>,
    signatures: Vec<Signature>,
    signature_files: Vec<(String, Vec<u8>)>,
    warnings: Vec<Fault>,
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

    /// The distinct people who have signed it and count.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// Every signature file, and what it is worth.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The signature files by name, as they were read.
    pub fn signature_files(&self) -> &[(String, Vec<u8>)] {
        &self.signature_files
    }

    /// What the operator must know beside the verdict.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }
}

fn fault(id: &str, what: String) -> Fault {
    Fault::new(id, Exit::Untrusted, what).done("Nothing was frozen.")
}

fn warning(id: &str, what: String) -> Fault {
    Fault::new(id, Exit::Done, what)
}

/// SHA-256 as 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Root {
    /// Reads `allowed_signers`, `policy.toml` and `revocations` in this folder.
    ///
    /// # Errors
    /// `SP-TRUST-002`, `SP-TRUST-008`, `SP-TRUST-010`, `SP-TRUST-011`, `SP-TRUST-014`.
    pub fn read(folder: &Path, floors: PathBuf) -> Result<Root, Fault> {
        let mut root = Root {
            policy: policy(&folder.join("policy.toml"))?,
            reviewers: reviewers(&folder.join("allowed_signers"))?,
            revocations: Revocations::default(),
            floors: Floors::new(floors),
            folder: folder.to_owned(),
        };
        root.revocations = root.revocations()?;
        Ok(root)
    }

    /// The list, signed by as many people as a module.
    fn revocations(&self) -> Result<Revocations, Fault> {
        let folder = self.folder.join("revocations");
        let refused = |why: String| {
            let what = format!("the list of revocations in {} cannot be used: {why}.", folder.display());
            fault("SP-TRUST-011", what).next("put the newest list there, with its signatures")
        };
        let floor = self.floors.of(floor::REVOCATIONS).map_err(not_floored)?;
        // What cannot be looked at is not missing.
        if folder.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return match floor {
                0 => Ok(Revocations::default()),
                _ => Err(refused(format!("it is missing, and list {floor} was here before"))),
            };
        }
        let (bytes, signatures) = bundle::signed(&folder, "revocations.toml")?;
        let parsed = || Revocations::parse(std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8")?);
        let looked = self.look(&signatures, &bytes, revoked::NAMESPACE, &[]);
        // Only what others have signed is looked at. Then no key that it revokes counts for it.
        self.enough(&looked).map_err(&refused)?;
        let list = parsed().map_err(&refused)?;
        let without = Root { revocations: list.clone(), ..self.clone() };
        without.enough(&without.look(&signatures, &bytes, revoked::NAMESPACE, &[])).map_err(&refused)?;
        if list.sequence < floor {
            return Err(refused(format!("it is list {}, and list {floor} was here before", list.sequence)));
        }
        Ok(list)
    }

    /// What each signature over these bytes is worth.
    fn look(&self, files: &[(String, Vec<u8>)], bytes: &[u8], namespace: &str, authors: &[String]) -> Vec<Signature> {
        let look = |(file, pem): &(String, Vec<u8>)| {
            let mut looked = signature::look(file, pem, bytes, namespace, &self.reviewers);
            if let (Some(signer), None) = (&looked.signer, &looked.problem) {
                looked.problem = if let Some(why) = self.revocations.key(&signer.fingerprint) {
                    Some(format!("is by {}, whose key is revoked: {why}", signer.principal))
                } else if authors.iter().any(|a| a.eq_ignore_ascii_case(&signer.principal)) {
                    Some(format!("is by {}, who wrote it", signer.principal))
                } else {
                    None
                };
            }
            looked
        };
        files.iter().map(look).collect()
    }

    /// What each signature of a bundle is worth, and the people who count.
    pub fn signatures(&self, bundle: &Bundle, manifest: &Manifest) -> (Vec<Signature>, Vec<Signer>) {
        let looked = self.look(&bundle.signatures, &bundle.manifest, NAMESPACE, &manifest.authors);
        let people = people(&looked);
        (looked, people)
    }

    /// The distinct people who count, if they are enough.
    ///
    /// # Errors
    /// In words: who is missing, and why the others do not count.
    fn enough(&self, looked: &[Signature]) -> Result<Vec<Signer>, String> {
        let people = people(looked);
        let names: Vec<&str> = people.iter().map(|p| p.principal.as_str()).collect();
        let Err(missing) = self.policy.enough(&names) else { return Ok(people) };
        let mut why = vec![missing];
        if !names.is_empty() {
            why.push(format!("counted: {}", names.join(", ")));
        }
        if looked.is_empty() {
            why.push("there is no signature".into());
        }
        why.extend(looked.iter().filter_map(|s| Some(format!("{} {}", s.file, s.problem.as_ref()?))));
        Err(why.join("; "))
    }

    /// Below what nothing is taken from now on, once everything else has passed with this module.
    pub fn raise(&self, module: &Verified) -> Raise {
        let mut to = Vec::new();
        // What nobody has signed is no reason to refuse what somebody has.
        if !module.signers.is_empty() {
            to.push((module.manifest.name.clone(), module.manifest.sequence));
        }
        if self.revocations.sequence > 0 {
            to.push((floor::REVOCATIONS.into(), self.revocations.sequence));
        }
        Raise { floors: self.floors.clone(), to }
    }
}

/// Floors that are to be raised.
#[derive(Debug, Clone)]
pub struct Raise {
    floors: Floors,
    to: Vec<(String, u64)>,
}

impl Raise {
    /// Raises them.
    ///
    /// # Errors
    /// `SP-TRUST-014`.
    pub fn write(&self) -> Result<(), Fault> {
        let raise = |(name, sequence): &(String, u64)| self.floors.raise(name, *sequence);
        self.to.iter().try_for_each(raise).map_err(|e| not_floored(e.to_string()))
    }
}

/// The distinct people whose signatures count.
fn people(looked: &[Signature]) -> Vec<Signer> {
    let mut people: Vec<Signer> = Vec::new();
    for signer in looked.iter().filter(|s| s.problem.is_none()).filter_map(|s| s.signer.as_ref()) {
        if people.iter().all(|p| p.principal != signer.principal) {
            people.push(signer.clone());
        }
    }
    people
}

/// Whether throwaway keys are among those that count.
pub fn is_development(people: &[Signer]) -> bool {
    people.iter().any(|p| p.principal.ends_with(DEVELOPMENT))
}

/// The installed module that serves this `workload_name`. What is read here only chooses; nothing of it is believed
/// before [`verify`].
///
/// # Errors
/// `SP-TRUST-001`.
pub fn find(workload_name: &str, modules: &Path) -> Result<PathBuf, Fault> {
    let mut found: Option<(String, u64, PathBuf)> = None;
    for path in store::folders(modules) {
        let read = ownership::read(&path.join("module.toml"), 1024 * 1024).ok().flatten();
        let Some(manifest) = read.and_then(|b| String::from_utf8(b).ok()).and_then(|text| Manifest::parse(&text).ok())
        else {
            // A broken bundle that bears the name must not be passed over in silence for an older one.
            if bears(&path, workload_name) {
                return Ok(path);
            }
            continue;
        };
        if !manifest.workloads.iter().any(|w| w == workload_name) {
            continue;
        }
        match &found {
            Some((name, ..)) if *name != manifest.name => {
                let what = format!("two modules serve workload_name = {workload_name}: {name} and {}.", manifest.name);
                return Err(fault("SP-TRUST-001", what).next("name the one that is meant with  module = FOLDER"));
            }
            Some((_, sequence, _)) if *sequence >= manifest.sequence => {}
            _ => found = Some((manifest.name, manifest.sequence, path)),
        }
    }
    found.map(|(_, _, path)| path).ok_or_else(|| {
        let what = format!("no module for workload_name = {workload_name} is installed in {}.", modules.display());
        fault("SP-TRUST-001", what).next("stillpoint module install FOLDER , or name its bundle with  module =")
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

/// Verifies a bundle against what this machine trusts.
///
/// # Errors
/// `SP-TRUST-…`: the first that does not hold.
pub fn verify(path: &Path, root: &Root) -> Result<Verified, Fault> {
    let bundle = Bundle::open(path)?;
    // Who the authors are stands in the manifest, which is not believed before enough people have signed it.
    let looked = root.look(&bundle.signatures, &bundle.manifest, NAMESPACE, &[]);
    let not_signed = |why: String| {
        let what = format!("{} is not signed by enough reviewers whom this machine knows: {why}.", path.display());
        let next = format!("install it again, or have it signed by people in {}", root.folder.display());
        fault("SP-TRUST-004", what).next(next)
    };
    root.enough(&looked).map_err(not_signed)?;
    let manifest = parse(&bundle.manifest)?;
    let looked = root.look(&bundle.signatures, &bundle.manifest, NAMESPACE, &manifest.authors);
    let signers = root.enough(&looked).map_err(not_signed)?;
    let mut warnings = Vec::new();
    if let Some(expired) = expired(&manifest) {
        match root.policy.expired {
            Expired::Refuse => return Err(fault("SP-TRUST-006", expired).next("install a newer version")),
            Expired::Warn => warnings.push(warning("SP-TRUST-022", expired).next("install a newer version")),
        }
    }
    if is_development(&signers) && !root.policy.development {
        let what = format!("{} is signed with throwaway keys of a development ({}).", manifest.name, root.policy.name);
        warnings.push(warning("SP-TRUST-021", what).next("install it as signed by reviewers whom you know"));
    }
    let signed = manifest.wasm.as_ref().map(|w| w.sha256.as_str()).unwrap_or_default();
    if let Some(why) = root.revocations.digest(&[&sha256(&bundle.manifest), signed]) {
        let what = format!("{} {} is revoked: {why}.", manifest.name, manifest.version);
        return Err(fault("SP-TRUST-012", what).next("install a newer version"));
    }
    let floor = root.floors.of(&manifest.name).map_err(not_floored)?;
    if manifest.sequence < floor {
        let what = format!(
            "{} {} is older than one that was trusted here before: its sequence is {}, not {floor} or more.",
            manifest.name, manifest.version, manifest.sequence
        );
        return Err(fault("SP-TRUST-013", what).next("install a newer version"));
    }
    let wasm = component(&bundle, &manifest)?;
    let Bundle { path, manifest: manifest_bytes, signatures: signature_files, .. } = bundle;
    Ok(Verified { path, manifest, manifest_bytes, wasm, signers, signatures: looked, signature_files, warnings })
}

/// Takes a bundle that nobody need have signed: for development. Owner and mode, the manifest and the component's digest
/// are looked at as in [`verify`]; who signed what and when is not asked, so neither are expiry, revocations and floors.
///
/// # Errors
/// `SP-TRUST-…`.
pub fn unsigned(path: &Path) -> Result<Verified, Fault> {
    let bundle = Bundle::open(path)?;
    let manifest = parse(&bundle.manifest)?;
    let wasm = component(&bundle, &manifest)?;
    let what = format!("{} {} IS NOT SIGNED, and was run because you asked for it.", manifest.name, manifest.version);
    let warnings = vec![warning("SP-TRUST-020", what).next("use this for development alone")];
    let Bundle { path, manifest: manifest_bytes, signatures: signature_files, .. } = bundle;
    let (signers, signatures) = (Vec::new(), Vec::new());
    Ok(Verified { path, manifest, manifest_bytes, wasm, signers, signatures, signature_files, warnings })
}

/// Reads a manifest.
///
/// # Errors
/// `SP-TRUST-005`.
pub fn parse(bytes: &[u8]) -> Result<Manifest, Fault> {
    let refused = |why: String| {
        fault("SP-TRUST-005", "its manifest is refused.".into())
            .at(indented(&why))
            .next("install a version made for this Stillpoint")
    };
    let text = std::str::from_utf8(bytes).map_err(|_| refused("it is not UTF-8".into()))?;
    let manifest = Manifest::parse(text).map_err(|e| refused(e.to_string()))?;
    day(&manifest).map_err(refused)?;
    Ok(manifest)
}

/// Why a manifest is refused, which may be many lines.
pub fn indented(why: &str) -> String {
    why.trim_end().lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// The last day of a module.
fn day(manifest: &Manifest) -> Result<Option<jiff::civil::Date>, String> {
    let Some(expires) = &manifest.expires else { return Ok(None) };
    expires.parse().map(Some).map_err(|_| format!("expires = {expires} is no date such as 2027-01-31"))
}

/// In words, when its last day has passed.
pub fn expired(manifest: &Manifest) -> Option<String> {
    let last = day(manifest).ok().flatten();
    let today = jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date();
    last.filter(|last| today > *last)
        .map(|last| format!("{} {} expired: its last day was {last}.", manifest.name, manifest.version))
}

/// The component: read once, and the one that was signed.
///
/// # Errors
/// `SP-TRUST-002`, `SP-TRUST-003`, `SP-TRUST-007`.
pub fn component(bundle: &Bundle, manifest: &Manifest) -> Result<Vec<u8>, Fault> {
    let Some(signed) = &manifest.wasm else {
        let what = "its manifest has no [wasm] and so names no component: it was never packaged.".into();
        return Err(fault("SP-TRUST-007", what).next("package it, and sign what packaging wrote"));
    };
    let wasm = bundle.component()?;
    let is = wasm.len() as u64;
    let how = match signed.size {
        size if is < size => format!("it is truncated, {is} of {size} bytes"),
        size if is > size => format!("it is longer, {is} instead of {size} bytes"),
        _ if sha256(&wasm) != signed.sha256 => "it was changed".into(),
        _ => return Ok(wasm),
    };
    let what = format!("its component is not the one that was signed: {how}.");
    Err(fault("SP-TRUST-007", what).next("install the module again"))
}

fn policy(path: &Path) -> Result<Policy, Fault> {
    let refused = |why: String| {
        fault("SP-TRUST-010", format!("the policy {} cannot be used: {why}.", path.display()))
            .next("write there, for one,  reviewers = 2")
    };
    let Some(bytes) = ours(path, &refused)? else { return Ok(Policy::default()) };
    let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8".into()))?;
    Policy::parse(&text).map_err(refused)
}

fn reviewers(path: &Path) -> Result<Vec<signers::Reviewer>, Fault> {
    let refused = |why: String| {
        fault("SP-TRUST-008", format!("the list of reviewers {} cannot be used: {why}.", path.display()))
            .next(format!("write there who may sign, one a line:  NAME namespaces=\"{NAMESPACE}\" ssh-ed25519 KEY"))
    };
    let bytes = ours(path, &refused)?.ok_or_else(|| refused("No such file or directory".into()))?;
    let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8".into()))?;
    signers::parse(&text, jiff::Timestamp::now()).map_err(refused)
}

/// A file of the trust root, that only root could have written.
fn ours(path: &Path, refused: &impl Fn(String) -> Fault) -> Result<Option<Vec<u8>>, Fault> {
    ownership::read(path, LARGEST_SIGNERS).map_err(|problem| match problem.is_about_others() {
        true => {
            fault("SP-TRUST-002", format!("others could have written it: {problem}.")).next("let only root write there")
        }
        false => refused(problem.to_string()),
    })
}

fn not_floored(why: String) -> Fault {
    fault("SP-TRUST-014", format!("the lowest sequence that may run cannot be kept: {why}."))
        .next("see whether the state directory can be written, and what is in  floors")
}

#[cfg(test)]
mod tests;
