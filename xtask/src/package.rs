//! Builds everything once, and signs what may run: `<target>/stillpoint/{modules,guests,trust}`.

use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use ssh_key::{HashAlg, LineEnding, PrivateKey};
use stillpoint_contract::{Manifest, NAMESPACE};

use crate::wasm::{Compiler, component};
use crate::{cargo, root, succeed, target};

/// Who signs while there is no reviewer: named so wherever it is shown.
const THROWAWAY: &str = "throwaway@development";

/// A module's source.
struct Source {
    folder: PathBuf,
    package: String,
    /// `modules`, or `guests` for those that only tests run.
    kind: &'static str,
}

/// Builds programs and modules, and signs the modules with a key that is made here. Gives the folder.
pub fn run() -> Result<PathBuf> {
    let target = target()?;
    let dist = target.join("stillpoint");
    fs::create_dir_all(&dist)?;
    // Tests that run at the same time package one after the other.
    let lock = File::create(dist.join("lock"))?;
    lock.lock()?;
    succeed(cargo().args(["build", "--locked", "--package", "stillpoint", "--package", "stillpoint-engine"]))
        .context("the programs could not be built")?;
    let compiler = Compiler::find(&dist.join("rustup-cannot-add-the-target"))?;
    let sources = sources(&root())?;
    let built = build(&compiler, &root(), &sources, &target.join("wasm"))?;
    let key = throwaway_key(&dist.join("throwaway"))?;
    fs::create_dir_all(dist.join("trust"))?;
    let line = format!("{THROWAWAY} namespaces=\"{NAMESPACE}\" {}\n", key.public_key().to_openssh()?);
    replace(&dist.join("trust/allowed_signers"), line.as_bytes())?;
    let mut bundles = Vec::new();
    for (source, core) in sources.iter().zip(built) {
        let bundle = bundle(source, &core, &compiler.name()?, &key, &dist.join(source.kind));
        bundles.push(bundle.with_context(|| source.folder.display().to_string())?);
    }
    // What was packaged from an older source must not be taken for this one.
    for kind in ["modules", "guests"] {
        for entry in fs::read_dir(dist.join(kind))? {
            let bundle = entry?.path();
            if !bundles.contains(&bundle) {
                fs::remove_dir_all(bundle)?;
            }
        }
    }
    Ok(dist)
}

/// Builds the components alone, of another copy of the source if one is named: the same source gives the same bytes.
pub fn components(folder: &Path, copy: Option<PathBuf>) -> Result<()> {
    let target = target()?;
    let compiler = Compiler::find(&target.join("stillpoint/rustup-cannot-add-the-target"))?;
    let (root, built_in) = match copy {
        Some(copy) => (copy.canonicalize()?, copy.canonicalize()?.join("target")),
        None => (root(), target),
    };
    let sources = sources(&root)?;
    fs::create_dir_all(folder)?;
    for (source, core) in sources.iter().zip(build(&compiler, &root, &sources, &built_in.join("wasm"))?) {
        fs::write(folder.join(format!("{}.wasm", source.package)), component(&core)?)?;
    }
    Ok(())
}

fn build(compiler: &Compiler, root: &Path, sources: &[Source], target: &Path) -> Result<Vec<PathBuf>> {
    let packages: Vec<String> = sources.iter().map(|s| s.package.clone()).collect();
    let folder = compiler.build(root, &packages, target)?;
    Ok(packages.iter().map(|p| folder.join(format!("{}.wasm", p.replace('-', "_")))).collect())
}

/// Every folder with a manifest is a module.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut out = Vec::new();
    for (kind, under, prefix) in
        [("modules", "modules", "stillpoint-"), ("guests", "tests/guests", "stillpoint-guest-")]
    {
        let folder = root.join(under);
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let folder = entry?.path();
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if folder.join("module.toml").exists() {
                out.push(Source { folder, package: format!("{prefix}{name}"), kind });
            }
        }
    }
    out.sort_by(|a, b| a.package.cmp(&b.package));
    Ok(out)
}

fn bundle(source: &Source, core: &Path, compiler: &str, key: &PrivateKey, to: &Path) -> Result<PathBuf> {
    let written = fs::read_to_string(source.folder.join("module.toml"))?;
    let wasm = component(core)?;
    let digest = hex::encode(Sha256::digest(&wasm));
    // Packaging adds, and rewrites nothing.
    let manifest = format!(
        "{}\n[wasm]\nsha256   = \"{digest}\"\nsize     = {}\ncompiler = \"{compiler}\"\n",
        if written.ends_with('\n') { written } else { written + "\n" },
        wasm.len()
    );
    let parsed = Manifest::parse(&manifest).map_err(anyhow::Error::msg).context("module.toml")?;
    let folder = to.join(format!("{}-{}", parsed.name, parsed.version));
    fs::create_dir_all(folder.join("signatures"))?;
    for folder in [to, &folder, &folder.join("signatures")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    let signature = key.sign(NAMESPACE, HashAlg::Sha512, manifest.as_bytes())?.to_pem(LineEnding::LF)?;
    replace(&folder.join("module.wasm"), &wasm)?;
    replace(&folder.join("module.toml"), manifest.as_bytes())?;
    replace(&folder.join("signatures/throwaway.sig"), signature.as_bytes())?;
    Ok(folder)
}

fn throwaway_key(path: &Path) -> Result<PrivateKey> {
    if let Ok(text) = fs::read_to_string(path) {
        return Ok(PrivateKey::from_openssh(text)?);
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let key = PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&seed));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    std::io::Write::write_all(&mut file, key.to_openssh(LineEnding::LF)?.as_bytes())?;
    Ok(key)
}

/// Whole or not at all: a test may be reading it.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
    Ok(fs::rename(new, path)?)
}
