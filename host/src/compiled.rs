//! What was compiled, kept between cycles: one file for each component, in a folder where only we write.
//!
//! A file begins with one line: what it is, the digest of the component that it was compiled from, for which engine
//! (a digest), its own digest, its size. Then the artefact. Whatever is not exactly so, or could have been written by
//! others, is not there: the component is compiled again, and the file replaced. The digest shows what a disk broke; who
//! could have forged it could have forged the artefact as well, so it is owner and mode that stand against people.
//!
//! Nothing of an artefact is run here, nor in any process with rights: it is bytes that an engine is given.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FileType;
use stillpoint_contract::message::{Compatibility, longest_artefact};

use crate::sys::{disk, ownership};
use crate::trust::sha256;

/// What the first line begins with; the number goes up with its format.
const FORMAT: &str = "stillpoint-compiled 1";

/// No first line is longer, in bytes.
const LONGEST_LINE: u64 = 256;

/// How long to wait for somebody else who is just writing.
const WAIT: Duration = Duration::from_secs(1);

/// A component, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// For which engine.
    pub compatibility: Compatibility,
    /// What an engine is given.
    pub artefact: Vec<u8>,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// In this folder, which need not be there.
    pub fn new(folder: PathBuf) -> Store {
        Store { folder }
    }

    /// What the component of this digest (a SHA-256, in hexadecimal) was compiled to; `None` where nothing is kept, or
    /// nothing that can be trusted.
    pub fn find(&self, component: &str) -> Option<Compiled> {
        let path = self.path(component).ok()?;
        let folder = ownership::open_folder(&self.folder).ok()?;
        let file = ownership::open_in(folder.as_fd(), &path, FileType::RegularFile).ok()??;
        let mut bytes = ownership::bytes(file, &path, LONGEST_LINE + longest_artefact(u64::MAX)).ok()?;
        let end = bytes.iter().take(usize::try_from(LONGEST_LINE).ok()?).position(|b| *b == b'\n')?;
        let artefact = bytes.split_off(end + 1);
        let line = String::from_utf8(bytes).ok()?;
        let mut compatibility = Compatibility::default();
        hex::decode_to_slice(line.split(' ').nth(3)?, &mut compatibility).ok()?;
        // The line as it must be, not its parts: there is one way to write it.
        (line == first_line(component, &compatibility, &artefact)).then_some(Compiled { compatibility, artefact })
    }

    /// Keeps it, in the place of what was kept.
    ///
    /// # Errors
    /// Why it cannot be kept. Nothing depends on it but time.
    pub fn keep(&self, component: &str, compiled: &Compiled) -> io::Result<()> {
        let path = self.path(component)?;
        if !self.folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        }
        ownership::check(&self.folder, &[]).map_err(io::Error::other)?;
        // Two cycles may compile the same; each writes the whole file.
        let _lock = disk::lock_within(&self.folder.join("lock"), WAIT)?.ok_or(io::ErrorKind::WouldBlock)?;
        let mut content = first_line(component, &compiled.compatibility, &compiled.artefact).into_bytes();
        content.extend_from_slice(&compiled.artefact);
        disk::replace(&path, &content)
    }

    /// Removes what is kept of a component, if anything is.
    ///
    /// # Errors
    /// What the system gives.
    pub fn forget(&self, component: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(component)?) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, component: &str) -> io::Result<PathBuf> {
        let is_digest = component.len() == 64 && component.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_digest { Ok(self.folder.join(component)) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

/// The first line of a file, with its end.
fn first_line(component: &str, compatibility: &Compatibility, artefact: &[u8]) -> String {
    let [compatibility, digest] = [hex::encode(compatibility), sha256(artefact)];
    format!("{FORMAT} {component} {compatibility} {digest} {}\n", artefact.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const ONE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    fn compiled() -> Compiled {
        Compiled { compatibility: [7; 32], artefact: b"machine\ncode".to_vec() }
    }

    fn kept() -> (tempfile::TempDir, Store, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("lib/compiled"));
        store.keep(ONE, &compiled()).unwrap();
        let file = store.folder().join(ONE);
        (folder, store, file)
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_kept_is_found_until_it_is_forgotten() {
        let (_folder, store, file) = kept();
        assert_eq!(store.find(ONE), Some(compiled()));
        assert_eq!(store.find(OTHER), None);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(store.folder().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        store.forget(ONE).unwrap();
        store.forget(ONE).unwrap();
        assert_eq!(store.find(ONE), None);
        for name in ["", "lock", "../lock", &ONE.to_uppercase()] {
            assert!(
                store.keep(name, &compiled()).is_err() && store.find(name).is_none() && store.forget(name).is_err()
            );
        }
    }

    /// Whatever stands in the file, it is what was kept, or nothing; but for the engine's digest, which the engine
    /// compares.
    #[test]
    fn a_file_that_is_not_exactly_so_is_not_there() {
        let (_folder, store, file) = kept();
        let good = std::fs::read(&file).unwrap();
        let compatibility = good.windows(64).position(|w| w == "07".repeat(32).as_bytes()).unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                std::fs::write(&file, &bad).unwrap();
                match store.find(ONE) {
                    None => {}
                    Some(found) => {
                        assert!((compatibility..compatibility + 64).contains(&at), "byte {at}, bit {bit}");
                        assert!(
                            found.compatibility != compiled().compatibility && found.artefact == compiled().artefact
                        );
                    }
                }
            }
            std::fs::write(&file, &good[..at]).unwrap();
            assert_eq!(store.find(ONE), None, "cut at {at}");
        }
        std::fs::write(&file, [&good[..], b"x"].concat()).unwrap();
        assert_eq!(store.find(ONE), None, "longer");
        // Another component's.
        std::fs::copy(&file, store.folder().join(OTHER)).unwrap();
        std::fs::write(&file, &good).unwrap();
        std::fs::write(store.folder().join(OTHER), &good).unwrap();
        assert_eq!((store.find(ONE), store.find(OTHER)), (Some(compiled()), None));
    }

    #[test]
    fn what_others_could_have_written_is_not_there_and_is_replaced() {
        let (folder, store, file) = kept();
        let replaced = |how: &str| {
            assert_eq!(store.find(ONE), None, "{how}");
            store.keep(ONE, &compiled()).unwrap();
            assert_eq!(store.find(ONE), Some(compiled()), "{how}");
        };
        mode(&file, 0o620);
        replaced("its group may write");
        let elsewhere = folder.path().join("elsewhere");
        std::fs::rename(&file, &elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        replaced("a link to a good one");
        assert!(elsewhere.is_file() && file.symlink_metadata().unwrap().is_file());
        std::fs::remove_file(&file).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
        assert!(made.success());
        replaced("a pipe");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
            replaced("somebody else's");
        }
        std::fs::File::options().write(true).open(&file).unwrap().set_len(1 << 40).unwrap();
        replaced("a terabyte");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(store.find(ONE).is_none() && store.keep(ONE, &compiled()).is_err(), "a folder");
        std::fs::remove_dir(&file).unwrap();
        store.keep(ONE, &compiled()).unwrap();
        mode(store.folder(), 0o770);
        assert!(store.find(ONE).is_none() && store.keep(ONE, &compiled()).is_err(), "the folder's group may write");
    }
}
