//! Folders: who may look into them, what lies below them, and what is kept from one run of the tests to the next.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use tempfile::TempDir;

use crate::dist;
use crate::program::succeed;

/// A new folder with this mode: servers and clients of other users look into it. Its name is short, as the path of a socket
/// must be.
///
/// # Panics
/// When it cannot be made.
pub fn with_mode(mode: u32) -> TempDir {
    below(&std::env::temp_dir(), mode)
}

/// The same, below this folder.
///
/// # Panics
/// When it cannot be made.
pub fn below(parent: &Path, mode: u32) -> TempDir {
    let folder = tempfile::Builder::new().prefix("sp").tempdir_in(parent).unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
    folder
}

/// All files below a folder; a link is none.
///
/// # Panics
/// When a folder cannot be read.
pub fn files(below: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(below).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => out.extend(files(&entry.path())),
            kind if kind.is_file() => out.push(entry.path()),
            _ => {}
        }
    }
    out
}

/// The files below a folder that hold these words.
///
/// # Panics
/// When one cannot be read.
pub fn files_with(words: &str, below: &Path) -> Vec<PathBuf> {
    let mut out = files(below);
    out.retain(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).contains(words));
    out
}

/// Copies a folder to a place where none is yet, with owners and modes.
///
/// # Panics
/// When it cannot.
pub fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.args(["--archive", "--sparse=always", "--no-target-directory"]).arg(from).arg(to);
    succeed(&mut command, "");
}

/// A folder that takes long to make: it is made once, and kept under this name with what cargo built.
///
/// # Panics
/// When it cannot be kept.
pub fn kept(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    let kept = dist::target().join("stillpoint-tests").join(name);
    if !kept.is_dir() {
        let folder = with_mode(0o777);
        let made = folder.path().join("made");
        make(&made);
        let new = kept.with_extension(std::process::id().to_string());
        std::fs::create_dir_all(kept.parent().expect("a folder in a folder")).unwrap();
        copy(&made, &new);
        if std::fs::rename(&new, &kept).is_err() {
            // Another test process was quicker.
            let _ = std::fs::remove_dir_all(&new);
        }
    }
    kept
}

/// Copies those files of a folder whose names a shell's pattern takes, as `case` reads it.
///
/// # Panics
/// When they cannot be copied.
pub fn copy_those(pattern: &str, from: &Path, to: &Path) {
    let script = format!("for f in \"$0\"/*; do case ${{f##*/}} in {pattern}) cp -a \"$f\" \"$1\";; esac; done");
    succeed(Command::new("sh").args(["-ec", &script]).arg(from).arg(to), "");
}
