//! The installed modules: one folder for each, NAME-VERSION, and one version of each.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Verified;
use crate::sys::disk;

/// The folders of all installed modules, in the order of their names.
pub fn folders(modules: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(modules)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir() && !hidden(p))
        .collect();
    out.sort();
    out
}

/// What is being written or taken away.
fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'))
}

/// The folders of this module, whatever its version.
pub fn of(modules: &Path, name: &str) -> Vec<PathBuf> {
    let is = |p: &PathBuf| {
        let folder = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        folder.rsplit_once('-').is_some_and(|(n, _)| n == name)
    };
    folders(modules).into_iter().filter(is).collect()
}

/// Only one changes what is installed. Held until it is dropped.
///
/// # Errors
/// What the system gives; `WouldBlock` when somebody else has been at it for half a minute.
pub fn lock(modules: &Path) -> io::Result<File> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(modules)?;
    disk::lock_within(&modules.join(".lock"), Duration::from_secs(30))?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
}

/// Keeps a module, from the very bytes that were verified, in the place of every other version of it. Under the [`lock`].
///
/// # Errors
/// What the system gives.
pub fn keep(modules: &Path, module: &Verified) -> io::Result<PathBuf> {
    let (name, version) = (&module.manifest().name, &module.manifest().version);
    let folder = modules.join(format!("{name}-{version}"));
    let new = modules.join(format!(".{name}.new"));
    let make = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    let _ = std::fs::remove_dir_all(&new);
    make(&new.join("signatures"))?;
    write(&new.join("module.toml"), module.manifest_bytes())?;
    write(&new.join("module.wasm"), module.wasm())?;
    for (file, bytes) in module.signature_files() {
        write(&new.join("signatures").join(file), bytes)?;
    }
    for made in [new.join("signatures"), new.clone()] {
        std::fs::set_permissions(&made, Permissions::from_mode(0o755))?;
        File::open(made)?.sync_all()?;
    }
    if folder.symlink_metadata().is_ok() {
        // At no moment is there none.
        renameat_with(CWD, &new, CWD, &folder, RenameFlags::EXCHANGE)?;
        std::fs::remove_dir_all(&new)?;
    } else {
        std::fs::rename(&new, &folder)?;
    }
    for other in of(modules, name).into_iter().filter(|p| *p != folder) {
        remove(&other)?;
    }
    File::open(modules)?.sync_all()?;
    Ok(folder)
}

/// Takes one away: at once, or not at all.
///
/// # Errors
/// What the system gives.
pub fn remove(folder: &Path) -> io::Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let gone = folder.with_file_name(format!(".{name}.gone"));
    let _ = std::fs::remove_dir_all(&gone);
    std::fs::rename(folder, &gone)?;
    std::fs::remove_dir_all(&gone)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o644).open(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(bytes)?;
    file.sync_all()
}
