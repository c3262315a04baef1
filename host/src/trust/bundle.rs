//! The files of a bundle, as they are read: each once, through the folder that was opened and judged first.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType};

use super::fault;
use crate::fault::Fault;
use crate::sys::ownership::{self, Problem};

const LARGEST_MANIFEST: u64 = 1024 * 1024;
const LARGEST_COMPONENT: u64 = 48 * 1024 * 1024;
const LARGEST_SIGNATURE: u64 = 64 * 1024;

/// The most files that are looked at in `signatures`.
const MOST_SIGNATURES: usize = 64;

/// Files by name.
pub type Files = Vec<(String, Vec<u8>)>;

/// An opened bundle. Its component was not read yet.
#[derive(Debug)]
pub struct Bundle {
    /// Where it lies.
    pub path: PathBuf,
    /// The bytes of `module.toml`.
    pub manifest: Vec<u8>,
    /// The files of `signatures` by name, in order.
    pub signatures: Files,
    folder: OwnedFd,
}

impl Bundle {
    /// Opens one and reads the manifest and its signatures.
    ///
    /// # Errors
    /// `SP-TRUST-001`, `SP-TRUST-002`, `SP-TRUST-003`.
    pub fn open(path: &Path) -> Result<Bundle, Fault> {
        if !path.is_dir() {
            let what = format!("there is no module in {}.", path.display());
            return Err(fault("SP-TRUST-001", what).next("install it, or name another bundle with  module ="));
        }
        let folder = ownership::open_folder(path).map_err(unread)?;
        let manifest = read(&folder, &path.join("module.toml"), LARGEST_MANIFEST)?;
        let signatures = signatures(&folder, &path.join("signatures"))?;
        Ok(Bundle { path: path.to_owned(), manifest, signatures, folder })
    }

    /// Reads the component. To be called once, after the signatures hold: these bytes are hashed, and these run.
    ///
    /// # Errors
    /// `SP-TRUST-002`, `SP-TRUST-003`.
    pub fn component(&self) -> Result<Vec<u8>, Fault> {
        read(&self.folder, &self.path.join("module.wasm"), LARGEST_COMPONENT)
    }
}

/// A file in a folder, and the files of `signatures` beside it.
///
/// # Errors
/// `SP-TRUST-002`, `SP-TRUST-003`.
pub fn signed(folder: &Path, name: &str) -> Result<(Vec<u8>, Files), Fault> {
    let opened = ownership::open_folder(folder).map_err(unread)?;
    let bytes = read(&opened, &folder.join(name), LARGEST_MANIFEST)?;
    Ok((bytes, signatures(&opened, &folder.join("signatures"))?))
}

fn read(folder: &OwnedFd, path: &Path, largest: u64) -> Result<Vec<u8>, Fault> {
    let file = ownership::open_in(folder.as_fd(), path, FileType::RegularFile).map_err(unread)?;
    let file = file.ok_or_else(|| unread(missing(path)))?;
    ownership::bytes(file, path, largest).map_err(unread)
}

fn missing(path: &Path) -> Problem {
    Problem::Unreadable { path: path.into(), why: rustix::io::Errno::NOENT.into() }
}

/// The files whose name ends in `.sig`. None where there is no such folder.
fn signatures(folder: &OwnedFd, path: &Path) -> Result<Files, Fault> {
    let Some(opened) = ownership::open_in(folder.as_fd(), path, FileType::Directory).map_err(unread)? else {
        return Ok(Vec::new());
    };
    let unreadable = |why: rustix::io::Errno| unread(Problem::Unreadable { path: path.into(), why: why.into() });
    let mut names: Vec<OsString> = Vec::new();
    for entry in Dir::read_from(&opened).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".sig") {
            names.push(name.into());
        }
        if names.len() > MOST_SIGNATURES {
            let what = format!("{} holds more than {MOST_SIGNATURES} signatures.", path.display());
            return Err(fault("SP-TRUST-003", what).next("install the module again"));
        }
    }
    names.sort();
    let mut out = Vec::new();
    for name in names {
        let bytes = read(&opened, &path.join(&name), LARGEST_SIGNATURE)?;
        out.push((name.to_string_lossy().into_owned(), bytes));
    }
    Ok(out)
}

fn unread(problem: Problem) -> Fault {
    if problem.is_about_others() {
        return fault("SP-TRUST-002", format!("others could have written it: {problem}."))
            .next("let only root write there");
    }
    fault("SP-TRUST-003", format!("a file is missing or is no plain file: {problem}."))
        .next("put the files there again")
}
