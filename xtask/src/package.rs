//! Builds everything once, and signs what may run: `<target>/stillpoint/{modules,guests,trust}`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use ssh_key::{HashAlg, LineEnding, PrivateKey};
use stillpoint_contract::manifest::Interface;
use stillpoint_contract::{Manifest, NAMESPACE};

use crate::wasm::{Compiler, assemble, component};
use crate::{cargo, root, succeed, target};

/// Who signs while there is no reviewer: named so wherever it is shown.
const THROWAWAY: [&str; 2] = ["throwaway-1@development", "throwaway-2@development"];

/// The trust root of throwaway keys.
const DEVELOPMENT: &str = "\
# Throwaway keys, made where this was built: for development, and for nothing else.
name        = \"development\"
development = true
reviewers   = 2
";

/// Who signs.
enum Signers {
    /// Keys that were made here.
    Throwaway(Vec<(&'static str, PrivateKey)>),
    /// A reviewer of `packaging/trust`, by the stock tool: it knows agents and hardware keys.
    Reviewer(PathBuf),
}

/// A module's source: a package of its own.
struct Source {
    folder: PathBuf,
    package: String,
    /// `modules`, or `guests` for those that only tests run.
    kind: &'static str,
}

/// The package of the hostile guests: each is an example of it, or a text.
const GUESTS: &str = "stillpoint-guests";

/// A hostile guest: one file, beside the manifest that it shares with others.
struct Guest {
    file: PathBuf,
    /// `loops-in-freeze`, of the file `loops_in_freeze.rs`.
    name: String,
}

/// Builds programs and modules, and signs the modules: with this reviewer's key, else with two that are made here. Gives
/// the folder.
pub fn run(sign_with: Option<PathBuf>) -> Result<PathBuf> {
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
    let folder = build(&compiler, &root(), &sources, &target.join("wasm"))?;
    let throwaway = Signers::throwaway(&dist)?;
    let signers = match sign_with {
        Some(key) => Signers::reviewer(key)?,
        None => Signers::throwaway(&dist)?,
    };
    let development = matches!(signers, Signers::Throwaway(_));
    signers.root_of_trust(&dist.join("trust"))?;
    let mut bundles = Vec::new();
    let compiler = compiler.name()?;
    for source in &sources {
        let bundle = source.manifest().and_then(|manifest| {
            // What only tests run is no reviewer's.
            let signers = if source.kind == "modules" { &signers } else { &throwaway };
            bundle(&manifest, &component(&source.core(&folder))?, &compiler, signers, &dist.join(source.kind))
        });
        bundles.push(bundle.with_context(|| source.folder.display().to_string())?);
    }
    for guest in guests(&root())? {
        let bundle = guest
            .manifest()
            .and_then(|m| bundle(&m, &guest.component(&folder)?, &compiler, &throwaway, &dist.join("guests")));
        bundles.push(bundle.with_context(|| guest.file.display().to_string())?);
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
    if development {
        for bundle in &bundles {
            install(&target, &dist, bundle)?;
        }
    }
    Ok(dist)
}

/// Installs a bundle in `site`, from which demo and tests take it with its grant, as an operator would. A guest that
/// cannot be installed is what its test shows.
fn install(target: &Path, dist: &Path, bundle: &Path) -> Result<()> {
    let site = dist.join("site");
    fs::create_dir_all(site.join("etc/trust"))?;
    for file in ["allowed_signers", "policy.toml"] {
        replace(&site.join("etc/trust").join(file), &fs::read(dist.join("trust").join(file))?)?;
    }
    let name = bundle.file_name().context("a bundle has a name")?;
    let programs = ["stillpoint", "stillpoint-engine"].map(|p| target.join("debug").join(p));
    let mut made_of = fs::read(bundle.join("module.toml"))?;
    for program in &programs {
        made_of.extend(format!("{:?}", fs::metadata(program)?.modified()?).bytes());
    }
    let done = site.join("done").join(name);
    if fs::read(&done).is_ok_and(|d| d == made_of) {
        return Ok(());
    }
    if let Err(e) = fs::remove_dir_all(site.join("lib/modules").join(name))
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(e.into());
    }
    // An earlier build may have written it in another form.
    let bundle_name = name.to_string_lossy();
    let module = bundle_name.rsplit_once('-').map_or(&*bundle_name, |(module, _)| module);
    let _ = fs::remove_file(site.join("etc/grants").join(format!("{module}.toml")));
    let mut command = Command::new(&programs[0]);
    command.arg("--state-dir").arg(&site).args(["module", "install", "--yes", "--accept-wider"]).arg(bundle);
    let said = command.output()?;
    if !said.status.success() && bundle.parent() == Some(&dist.join("modules")) {
        bail!("{} could not be installed: {}", bundle.display(), String::from_utf8_lossy(&said.stderr));
    }
    fs::create_dir_all(site.join("done"))?;
    Ok(fs::write(done, made_of)?)
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
    let built = build(&compiler, &root, &sources, &built_in.join("wasm"))?;
    for source in &sources {
        fs::write(folder.join(format!("{}.wasm", source.package)), component(&source.core(&built))?)?;
    }
    Ok(())
}

fn build(compiler: &Compiler, root: &Path, sources: &[Source], target: &Path) -> Result<PathBuf> {
    let packages: Vec<&str> = sources.iter().map(|s| s.package.as_str()).collect();
    compiler.build(root, &packages, GUESTS, target)
}

impl Source {
    fn core(&self, built: &Path) -> PathBuf {
        built.join(format!("{}.wasm", self.package.replace('-', "_")))
    }

    fn manifest(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("module.toml"))?)
    }
}

impl Guest {
    fn component(&self, built: &Path) -> Result<Vec<u8>> {
        if self.file.extension().is_some_and(|e| e == "wat") {
            return assemble(&self.file, &root().join("contract/wit/0.1.0"));
        }
        let name = self.file.file_stem().unwrap_or_default();
        component(&built.join("examples").join(name).with_extension("wasm"))
    }

    /// The one that it shares, under its own name.
    fn manifest(&self) -> Result<String> {
        let shared = fs::read_to_string(self.file.with_file_name("module.toml"))?;
        let (named, own) = ("\nname      = \"guest\"\n", format!("\nname      = \"{}\"\n", self.name));
        if !shared.contains(named) {
            bail!("the manifest does not say  {}", named.trim());
        }
        Ok(shared.replacen(named, &own, 1))
    }
}

/// Every package with a manifest is a module.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut out = Vec::new();
    for (kind, under, prefix) in
        [("modules", "modules", "stillpoint-"), ("guests", "tests/guests", "stillpoint-guest-")]
    {
        let folder = root.join(under);
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let folder = entry?.path();
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if folder.join("module.toml").exists() && folder.join("Cargo.toml").exists() {
                out.push(Source { folder, package: format!("{prefix}{name}"), kind });
            }
        }
    }
    out.sort_by(|a, b| a.package.cmp(&b.package));
    Ok(out)
}

/// Every file beside a manifest that belongs to no package is a guest.
fn guests(root: &Path) -> Result<Vec<Guest>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(root.join("tests/guests"))? {
        let folder = entry?.path();
        if !folder.join("module.toml").exists() || folder.join("Cargo.toml").exists() {
            continue;
        }
        for entry in fs::read_dir(folder)? {
            let file = entry?.path();
            if file.extension().is_some_and(|e| e == "rs" || e == "wat") {
                let name = file.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
                out.push(Guest { file, name });
            }
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

fn bundle(written: &str, wasm: &[u8], compiler: &str, signers: &Signers, to: &Path) -> Result<PathBuf> {
    let digest = hex::encode(Sha256::digest(wasm));
    // Packaging adds, and rewrites nothing.
    let imports: Vec<String> = interfaces(wasm)?.iter().map(|i| format!("\"{}\"", i.name())).collect();
    let manifest = format!(
        "{written}{}\n[wasm]\nsha256   = \"{digest}\"\nsize     = {}\ncompiler = \"{compiler}\"\nimports  = [{}]\n",
        if written.ends_with('\n') { "" } else { "\n" },
        wasm.len(),
        imports.join(", ")
    );
    let parsed = Manifest::parse(&manifest).map_err(anyhow::Error::msg).context("module.toml")?;
    let folder = to.join(format!("{}-{}", parsed.name, parsed.version));
    fs::create_dir_all(folder.join("signatures"))?;
    for folder in [to, &folder, &folder.join("signatures")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    replace(&folder.join("module.wasm"), wasm)?;
    let changed = replace(&folder.join("module.toml"), manifest.as_bytes())?;
    signers.sign(&folder, changed)?;
    Ok(folder)
}

impl Signers {
    fn throwaway(dist: &Path) -> Result<Signers> {
        let key = |name: &'static str| Ok((name, throwaway_key(&dist.join(name))?));
        Ok(Signers::Throwaway(THROWAWAY.into_iter().map(key).collect::<Result<_>>()?))
    }

    /// Whoever signs stands among those whom an installation will trust; else nobody could install it. A second reviewer
    /// adds theirs with `stillpoint module sign`.
    fn reviewer(key: PathBuf) -> Result<Signers> {
        let key = key.canonicalize().with_context(|| key.display().to_string())?;
        let public =
            if key.extension().is_some_and(|e| e == "pub") { key.clone() } else { key.with_added_extension("pub") };
        let public = fs::read_to_string(&public).with_context(|| public.display().to_string())?;
        let public = public.split_whitespace().nth(1).context("there is no key in it")?;
        let allowed = root().join("packaging/trust/allowed_signers");
        let listed = fs::read_to_string(&allowed)?;
        let mut lines = listed.lines().filter(|line| !line.trim_start().starts_with('#'));
        if !lines.any(|line| line.split_whitespace().any(|word| word == public)) {
            bail!("{} is no reviewer's: add its public half to {}", key.display(), allowed.display());
        }
        Ok(Signers::Reviewer(key))
    }

    /// Who may sign, for those who install what was signed.
    fn root_of_trust(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        let (signers, policy) = match self {
            Signers::Throwaway(keys) => {
                let line = |(name, key): &(&str, PrivateKey)| {
                    Ok(format!("{name} namespaces=\"{NAMESPACE}\" {}\n", key.public_key().to_openssh()?))
                };
                (keys.iter().map(line).collect::<Result<String>>()?, DEVELOPMENT.to_owned())
            }
            Signers::Reviewer(_) => {
                let trust = root().join("packaging/trust");
                (fs::read_to_string(trust.join("allowed_signers"))?, fs::read_to_string(trust.join("policy.toml"))?)
            }
        };
        replace(&to.join("allowed_signers"), signers.as_bytes())?;
        replace(&to.join("policy.toml"), policy.as_bytes())?;
        Ok(())
    }

    /// Signs the manifest in this folder. What stands there of another manifest, or of a key that was thrown away, goes.
    fn sign(&self, bundle: &Path, changed: bool) -> Result<()> {
        let (manifest, signatures) = (bundle.join("module.toml"), bundle.join("signatures"));
        let names: Vec<String> = match self {
            Signers::Throwaway(keys) => keys.iter().map(|(name, _)| format!("{name}.sig")).collect(),
            Signers::Reviewer(key) => vec![format!("{}.sig", key.file_stem().unwrap_or_default().to_string_lossy())],
        };
        for entry in fs::read_dir(&signatures)? {
            let path = entry?.path();
            let thrown_away = path.to_string_lossy().ends_with("@development.sig");
            if (changed || thrown_away || matches!(self, Signers::Throwaway(_)))
                && !names.iter().any(|n| path.ends_with(n))
            {
                fs::remove_file(path)?;
            }
        }
        match self {
            Signers::Throwaway(keys) => {
                let bytes = fs::read(&manifest)?;
                for ((_, key), file) in keys.iter().zip(&names) {
                    let signature = key.sign(NAMESPACE, HashAlg::Sha512, &bytes)?.to_pem(LineEnding::LF)?;
                    replace(&signatures.join(file), signature.as_bytes())?;
                }
            }
            Signers::Reviewer(key) => {
                let file = signatures.join(&names[0]);
                if changed || !file.exists() {
                    let mut keygen = Command::new("ssh-keygen");
                    succeed(keygen.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key).arg(&manifest))?;
                    fs::rename(bundle.join("module.toml.sig"), file)?;
                }
            }
        }
        Ok(())
    }
}

/// The interfaces of ours that a component imports. What else it imports, no host gives it.
fn interfaces(wasm: &[u8]) -> Result<BTreeSet<Interface>> {
    let mut out = BTreeSet::new();
    let mut depth = 0;
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        match payload? {
            wasmparser::Payload::ModuleSection { .. } | wasmparser::Payload::ComponentSection { .. } => depth += 1,
            wasmparser::Payload::End(_) => depth -= 1,
            wasmparser::Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let name = import?.name.name;
                    let name = name.strip_prefix("stillpoint:workload/").and_then(|n| n.split('@').next());
                    out.extend(Interface::ALL.into_iter().find(|i| Some(i.name()) == name));
                }
            }
            _ => {}
        }
    }
    Ok(out)
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

/// Whole or not at all: a test may be reading it. Whether it was another one.
fn replace(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(false);
    }
    let new = path.with_added_extension("new");
    fs::write(&new, bytes)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
    fs::rename(new, path)?;
    Ok(true)
}
