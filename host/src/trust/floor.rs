//! The lowest sequence of each module that this machine takes: never below one that it has trusted before.

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::disk;
use crate::sys::ownership;

/// The name under which the list of revocations has its floor. No module is called so.
pub const REVOCATIONS: &str = "_revocations";

/// The floors of a machine.
#[derive(Debug, Clone)]
pub struct Floors(PathBuf);

impl Floors {
    /// In this folder; it need not be there.
    pub fn new(folder: PathBuf) -> Floors {
        Floors(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The floor of a module; 0 when none of it was ever trusted.
    ///
    /// # Errors
    /// In words: a floor that cannot be read is none to stand on.
    pub fn of(&self, name: &str) -> Result<u64, String> {
        let path = self.file(name);
        let Some(bytes) = ownership::read(&path, 64).map_err(|p| p.to_string())? else { return Ok(0) };
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        text.trim_end().parse().map_err(|_| format!("{} holds no number", path.display()))
    }

    /// Raises it to what was trusted now. Never lowers it.
    ///
    /// # Errors
    /// What the system gives.
    pub fn raise(&self, name: &str, sequence: u64) -> io::Result<()> {
        if self.of(name).map_err(io::Error::other)? >= sequence {
            return Ok(());
        }
        make(&self.0)?;
        disk::replace(&self.file(name), format!("{sequence}\n").as_bytes())
    }
}

fn make(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
