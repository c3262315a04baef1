//! Who could have written a file: the check for every program we start and every module we trust.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a path cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It, or a folder above it, cannot be looked at.
    #[error("{}: {why}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// It, or a folder above it, belongs to somebody else.
    #[error("{} belongs to user id {uid}", .path.display())]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// It, or a folder above it, can be written by others.
    #[error("{} can be written by others", .path.display())]
    Writable {
        /// Which.
        path: PathBuf,
    },
}

/// Checks that only root, the user of this process, or one of `owners` could have written `path`, or put another file
/// in its place. Symbolic links are resolved first, and the file they lead to is judged. A folder with the sticky bit,
/// such as `/tmp`, is accepted above it: there nobody can replace what others own.
///
/// # Errors
/// [`Problem`]: the first component that is not as it must be.
pub fn check(path: &Path, owners: &[u32]) -> Result<(), Problem> {
    let real = path.canonicalize().map_err(|why| Problem::Unreadable { path: path.into(), why })?;
    let own = rustix::process::geteuid().as_raw();
    for part in real.ancestors() {
        let meta = part.symlink_metadata().map_err(|why| Problem::Unreadable { path: part.into(), why })?;
        let uid = meta.uid();
        if uid != 0 && uid != own && !owners.contains(&uid) {
            return Err(Problem::Owner { path: part.into(), uid });
        }
        let sticky = part != real && meta.mode() & 0o1000 != 0;
        if meta.mode() & 0o022 != 0 && !sticky {
            return Err(Problem::Writable { path: part.into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client");
        std::fs::write(&file, "").unwrap();
        assert!(check(&file, &[]).is_ok());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o757)).unwrap();
        assert!(matches!(check(&file, &[]), Err(Problem::Writable { .. })));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(check(&file, &[]), Err(Problem::Writable { .. })));
    }
}
