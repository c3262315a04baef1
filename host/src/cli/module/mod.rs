//! `module`: look at modules, accept them, take them away.

mod diff;
mod inspect;
mod install;
mod keys;
mod list;
mod sign;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Context, Output, screen};
use crate::compiled::Store;
use crate::fault::{Exit, Fault};
use crate::trust::{self, Root, Verified, grant, store};

/// What is done with modules.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a module may do, ask, and install it with a grant for that. An update within its grant is not asked for
    Install {
        /// The bundle's folder
        bundle: PathBuf,
        /// Accept what a module may do that has no grant yet
        #[arg(long)]
        yes: bool,
        /// Accept also what an update may do beyond its grant
        #[arg(long)]
        accept_wider: bool,
    },
    /// Show all that a module may ever do, on one page; it need not be trusted for that
    Inspect {
        /// A bundle's folder, the folder of its source, or the name of an installed module
        module: PathBuf,
        /// Write the page for a browser, too
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Show what NEW may do that OLD may not, and the other way round
    Diff {
        /// A bundle's folder, or the name of an installed module
        old: PathBuf,
        /// A bundle's folder, or the name of an installed module
        new: PathBuf,
    },
    /// List the installed modules, and whether they may run
    List,
    /// Say whether a module may run here, and if not, why
    Verify {
        /// A bundle's folder, or the name of an installed module
        module: PathBuf,
        /// Ask only whether enough people have signed it and nothing speaks against it: not whether it was granted here
        #[arg(long)]
        signatures: bool,
    },
    /// Remove an installed module. Its grant stays
    Remove {
        /// Its name
        name: String,
    },
    /// Sign a bundle as a reviewer, with ssh-keygen
    Sign {
        /// The bundle's folder
        bundle: PathBuf,
        /// The key, as ssh-keygen takes it: a private key, or the public half of one in an agent
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The name of the signature's file [default: the key's]
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
    },
    /// List whom this machine trusts
    Keys,
}

/// Runs one.
pub fn run(context: &Context, command: &Command) -> Exit {
    let done = match command {
        Command::Install { bundle, yes, accept_wider } => install::install(context, bundle, *yes, *accept_wider),
        Command::Inspect { module, html } => inspect::inspect(context, &folder(context, module), html.as_deref()),
        Command::Diff { old, new } => diff::diff(context, old, new),
        Command::List => list::list(context),
        Command::Verify { module, signatures } => verify(context, module, *signatures),
        Command::Remove { name } => remove(context, name),
        Command::Sign { bundle, key, name } => sign::sign(context, bundle, key, name.as_deref()),
        Command::Keys => keys::keys(context),
    };
    done.unwrap_or_else(|fault| screen::faults(context.output, &[fault]))
}

fn root(context: &Context) -> Result<Root, Fault> {
    Root::read(&context.places.trust(), context.places.floors())
}

/// The folder that is meant: one that is named, else the installed module of this name.
fn folder(context: &Context, named: &Path) -> PathBuf {
    let installed = named.to_str().filter(|n| !n.contains('/')).map(|n| store::of(&context.places.modules(), n));
    match installed.and_then(|mut found| found.pop()) {
        Some(path) if !named.is_dir() => path,
        _ => named.to_owned(),
    }
}

fn verify(context: &Context, named: &Path, signatures: bool) -> Result<Exit, Fault> {
    let module = trust::verify(&folder(context, named), &root(context)?)?;
    let granted = grant::check(&context.places.grants(), &module);
    let is_granted = granted.is_ok();
    if !signatures {
        granted?;
    }
    match context.output {
        Output::Json => screen::say(serde_json::json!({
            "module": module.manifest().name,
            "version": module.manifest().version,
            "sequence": module.manifest().sequence,
            "manifest_sha256": trust::sha256(module.manifest_bytes()),
            "signed_by": names(&module),
            "granted": is_granted,
            "warnings": module.warnings(),
        })),
        Output::Text => {
            for warning in module.warnings() {
                screen::say(format_args!("! {warning}"));
            }
            screen::say(format_args!("✔ {} {}", title(&module), signed_by(&module)))
        }
    };
    Ok(Exit::Done)
}

fn remove(context: &Context, name: &str) -> Result<Exit, Fault> {
    let found = store::of(&context.places.modules(), name);
    if found.is_empty() {
        let what = format!("no module {name} is installed.");
        return Err(Fault::new("SP-TRUST-001", Exit::Usage, what).next("see  stillpoint module list"));
    }
    let _lock = store::lock(&context.places.modules()).map_err(|e| not_stored(&e))?;
    for folder in found {
        let manifest = crate::sys::ownership::read(&folder.join("module.toml"), 1 << 20).ok().flatten();
        if let Some(wasm) = manifest.and_then(|bytes| trust::parse(&bytes).ok()).and_then(|m| m.wasm) {
            // What stays is never used without the module.
            let _ = Store::new(context.places.compiled()).forget(&wasm.sha256);
        }
        store::remove(&folder).map_err(|e| not_stored(&e))?;
    }
    let grant = grant::path(&context.places.grants(), name);
    match context.output {
        Output::Json => screen::say(serde_json::json!({ "removed": name })),
        Output::Text => screen::say(format_args!(
            "✔ {name} is removed. Its grant stays in {}: remove it, too, to be asked again.",
            grant.display()
        )),
    };
    Ok(Exit::Done)
}

fn title(module: &Verified) -> String {
    let manifest = module.manifest();
    format!("{} {} (sequence {})", manifest.name, manifest.version, manifest.sequence)
}

fn names(module: &Verified) -> Vec<&str> {
    module.signers().iter().map(|s| s.principal.as_str()).collect()
}

fn signed_by(module: &Verified) -> String {
    format!("signed by {}", names(module).join(", "))
}

fn not_stored(why: &std::io::Error) -> Fault {
    Fault::new("SP-TRUST-018", Exit::Internal, format!("the installed modules cannot be changed: {why}."))
        .done("What was installed is as it was.")
        .next("see whether the state directory can be written")
}
