//! From a module's source to a component: which compiler, with which standard library.
//!
//! The target is `wasm32-unknown-unknown`, so a component imports nothing but our interfaces. Its standard library comes
//! from rustup where that has it or can add it, otherwise from Debian's compiler and its source package.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{cargo, debian, root, succeed};

const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler for the web, and the source of its standard library.
const DEBIAN: [&str; 2] = ["rustc-web", "rust-web-src"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// How long rustup may take to add the target: where its server cannot be reached, it hangs.
const RUSTUP: Duration = Duration::from_secs(20);

/// What compiles modules here.
pub enum Compiler {
    /// The one that compiles everything else.
    Own,
    /// Debian's, which builds the standard library from source.
    Debian,
}

impl Compiler {
    /// Finds one, or installs it. `kept` is where it is remembered that rustup cannot.
    pub fn find(kept: &Path) -> Result<Compiler> {
        if own_has_target()? || (!kept.exists() && rustup_adds_target(kept) && own_has_target()?) {
            return Ok(Compiler::Own);
        }
        if !debian_has_source() {
            debian::install(&DEBIAN).with_context(|| {
                format!(
                    "there is no standard library for {TARGET}: neither  rustup target add {TARGET}  nor Debian's \
                     packages {} are possible here",
                    DEBIAN.join(" and ")
                )
            })?;
        }
        Ok(Compiler::Debian)
    }

    /// What stands in the manifest: another compiler gives other bytes.
    pub fn name(&self) -> Result<String> {
        match self {
            Compiler::Own => Ok(said(&own_rustc(), &["--version"])?),
            Compiler::Debian => Ok(format!("{} (Debian)", said(DEBIAN_RUSTC.as_ref(), &["--version"])?)),
        }
    }

    /// Builds these packages of `source`, and all examples of `examples`, and gives the folder of the core modules; the
    /// examples lie in `examples` there.
    pub fn build(&self, source: &Path, packages: &[&str], examples: &str, target: &Path) -> Result<PathBuf> {
        let mut command = cargo();
        command.current_dir(source);
        command.args(["build", "--locked", "--profile", "module", "--target", TARGET, "--target-dir"]).arg(target);
        command.args(["--lib", "--examples", "--package", examples]);
        for package in packages {
            command.args(["--package", package]);
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", flags(source)?);
        // Of the cargo that runs us, not of the build we ask for.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_PROFILE_") || name == "RUSTFLAGS" || name == "RUSTC_WRAPPER" {
                command.env_remove(name);
            }
        }
        if matches!(self, Compiler::Debian) {
            let sysroot = PathBuf::from(said(&own_rustc(), &["--print", "sysroot"])?);
            let linker = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
            command.args(["-Z", "build-std=std,panic_abort"]);
            command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", DEBIAN_RUSTC);
            if linker.exists() {
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            }
        }
        succeed(&mut command).context("the modules could not be built")?;
        Ok(target.join(TARGET).join("module"))
    }
}

/// Wraps a core module as a component.
pub fn component(core: &Path) -> Result<Vec<u8>> {
    encode(core, &std::fs::read(core).with_context(|| core.display().to_string())?)
}

/// Assembles a text. A core module becomes a component of our world; what is a component already stays as it is.
pub fn assemble(text: &Path, world: &Path) -> Result<Vec<u8>> {
    let mut bytes = wat::parse_file(text)?;
    if is_component(&bytes) {
        return Ok(bytes);
    }
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(world)?;
    let world = resolve.select_world(&[package], None)?;
    wit_component::embed_component_metadata(&mut bytes, &resolve, world, wit_component::StringEncoding::UTF8)?;
    encode(text, &bytes)
}

/// By the layer in its preamble.
fn is_component(bytes: &[u8]) -> bool {
    bytes.get(6) == Some(&1)
}

fn encode(core: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = wit_component::ComponentEncoder::default();
    let encoded = encoder.validate(true).module(bytes).and_then(|e| e.encode());
    encoded.with_context(|| format!("{} is no module of ours", core.display()))
}

/// No path of this machine may end up in a module.
fn flags(source: &Path) -> Result<OsString> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("there is no HOME")?).join(".cargo"),
    };
    let mut flags = OsString::new();
    for (from, to) in [(home, "/cargo"), (source.to_owned(), "/stillpoint")] {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

fn own_rustc() -> OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn said(program: &std::ffi::OsStr, arguments: &[&str]) -> Result<String> {
    let out = Command::new(program).args(arguments).current_dir(root()).output();
    let out = out.with_context(|| format!("{} could not be started", program.display()))?;
    if !out.status.success() {
        bail!("{} {} failed", program.display(), arguments.join(" "));
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// rustc prints the folder even where there is nothing in it.
fn own_has_target() -> Result<bool> {
    let folder = said(&own_rustc(), &["--print", "target-libdir", "--target", TARGET])?;
    Ok(std::fs::read_dir(folder)
        .is_ok_and(|mut files| files.any(|f| f.is_ok_and(|f| f.file_name().to_string_lossy().starts_with("libstd-")))))
}

fn rustup_adds_target(kept: &Path) -> bool {
    let mut command = Command::new("rustup");
    command.args(["target", "add", TARGET]).current_dir(root());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let Ok(mut child) = command.spawn() else { return false };
    eprintln!("Asking rustup for the target {TARGET}, for at most {} s …", RUSTUP.as_secs());
    let deadline = Instant::now() + RUSTUP;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return true,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            _ => break,
        }
    }
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.wait();
    let _ = kept.parent().map(std::fs::create_dir_all);
    let _ = std::fs::write(kept, "rustup could not add the target in time; delete this file to let it try again\n");
    false
}

/// Whether Debian's compiler is there with its source.
fn debian_has_source() -> bool {
    said(DEBIAN_RUSTC.as_ref(), &["--print", "sysroot"])
        .is_ok_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml").exists())
}
