//! What was built and packaged: the programs, and the signed bundles.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::program::succeed;

static DIST: OnceLock<PathBuf> = OnceLock::new();

/// The folder of the bundles: `modules/NAME-VERSION`, `guests/NAME-VERSION` and `trust/allowed_signers`. It is what
/// [`packaged`] named, else `STILLPOINT_DIST`, else it is packaged first.
///
/// # Panics
/// When packaging fails.
pub fn dist() -> &'static Path {
    DIST.get_or_init(|| {
        if let Some(dist) = std::env::var_os("STILLPOINT_DIST") {
            return dist.into();
        }
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["run", "--quiet", "--package", "xtask", "--", "package"]);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let said = command.stderr(std::process::Stdio::inherit()).output().unwrap();
        assert!(said.status.success(), "packaging failed");
        String::from_utf8_lossy(&said.stdout).trim().into()
    })
}

/// For who has packaged already.
pub fn packaged(dist: PathBuf) {
    let _ = DIST.set(dist);
}

/// A program of ours.
///
/// # Panics
/// When it was not built.
pub fn program(name: &str) -> PathBuf {
    let path = target().join("debug").join(name);
    assert!(path.is_file(), "{} was not built", path.display());
    path
}

/// The command with crash points, with its engine beside it. Where nobody has built it, it is built first.
///
/// # Panics
/// When that fails.
pub fn crash_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = dist().join("crash/stillpoint");
        if std::env::var_os("STILLPOINT_DIST").is_none() {
            let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            command.args(["run", "--quiet", "--package", "xtask", "--", "breakable"]);
            command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
            let built = command.stdout(std::process::Stdio::null()).status().unwrap();
            assert!(built.success(), "the command with crash points could not be built");
        }
        assert!(path.is_file(), "{} was not built: cargo xtask breakable", path.display());
        path
    })
}

/// All bundles of this kind, `modules` or `guests`.
pub fn bundles(kind: &str) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> =
        std::fs::read_dir(dist().join(kind)).into_iter().flatten().flatten().map(|e| e.path()).collect();
    out.sort();
    out
}

/// The bundle of this name, whatever its version.
///
/// # Panics
/// When there is none.
pub fn bundle(kind: &str, name: &str) -> PathBuf {
    let named = |p: &PathBuf| {
        let file = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        file.rsplit_once('-').is_some_and(|(n, _)| n == name)
    };
    bundles(kind).into_iter().find(named).unwrap_or_else(|| panic!("{name} is not in {}", dist().join(kind).display()))
}

/// Signs this bundle anew as packaging does, by the stock tool: with every throwaway key.
///
/// # Panics
/// When it cannot.
pub fn sign(keygen: &Path, bundle: &Path) {
    let manifest = bundle.join("module.toml");
    for entry in std::fs::read_dir(dist()).unwrap().map(|e| e.unwrap().path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("throwaway-") {
            let mut sign = Command::new(keygen);
            sign.args(["-q", "-Y", "sign", "-n", "stillpoint.module.v1", "-f"]).arg(&entry).arg(&manifest);
            succeed(&mut sign, "");
            std::fs::rename(bundle.join("module.toml.sig"), bundle.join(format!("signatures/{name}.sig"))).unwrap();
        }
    }
}

/// Cargo's target folder.
///
/// # Panics
/// When packaging fails.
pub fn target() -> PathBuf {
    dist().parent().expect("a folder in a folder").to_owned()
}
