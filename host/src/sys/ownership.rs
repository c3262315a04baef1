//! Who could have written a file: the check for every program we start and every module we trust.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// As many symbolic links on one path as the kernel follows.
const MOST_LINKS: u32 = 40;

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
    /// Symbolic links lead nowhere.
    #[error("{}: too many symbolic links", .path.display())]
    Links {
        /// The path that was asked about.
        path: PathBuf,
    },
}

/// Checks that only root, the user of this process, or one of `owners` could have written `path`, or put another file
/// in its place.
///
/// Symbolic links are followed as the kernel would, and every step is judged: each folder on the way, each link (its
/// owner; a link has no mode), and what it leads to. A folder with the sticky bit, such as `/tmp`, is accepted on the
/// way: there nobody can replace what others own.
///
/// # Errors
/// [`Problem`]: the first component that is not as it must be.
pub fn check(path: &Path, owners: &[u32]) -> Result<(), Problem> {
    let whole = std::path::absolute(path).map_err(|why| Problem::Unreadable { path: path.into(), why })?;
    let mut rest: VecDeque<OsString> = steps(&whole).collect();
    let mut here = PathBuf::from("/");
    judge(&here, &look(&here)?, owners, rest.is_empty())?;
    let mut links = 0;
    while let Some(step) = rest.pop_front() {
        if step == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&step);
        let meta = look(&next)?;
        if !meta.is_symlink() {
            judge(&next, &meta, owners, rest.is_empty())?;
            here = next;
            continue;
        }
        owned(&next, &meta, owners)?;
        links += 1;
        if links > MOST_LINKS {
            return Err(Problem::Links { path: path.into() });
        }
        let target = std::fs::read_link(&next).map_err(|why| Problem::Unreadable { path: next, why })?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
            rest.push_front(step);
        }
    }
    // A path that ends in `..` ends in a folder that was judged as one on the way.
    judge(&here, &look(&here)?, owners, true)
}

/// Checks what was opened at `path`: a plain file that only root or the user of this process could have written.
///
/// # Errors
/// [`Problem`].
pub fn check_open(path: &Path, file: &std::fs::File) -> Result<(), Problem> {
    let unreadable = |why: io::Error| Problem::Unreadable { path: path.into(), why };
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(unreadable(io::Error::other("it is no file")));
    }
    judge(path, &meta, &[], true)
}

/// The names and `..` of a path.
fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn look(path: &Path) -> Result<Metadata, Problem> {
    path.symlink_metadata().map_err(|why| Problem::Unreadable { path: path.into(), why })
}

fn owned(path: &Path, meta: &Metadata, owners: &[u32]) -> Result<(), Problem> {
    let uid = meta.uid();
    if uid == 0 || uid == rustix::process::geteuid().as_raw() || owners.contains(&uid) {
        return Ok(());
    }
    Err(Problem::Owner { path: path.into(), uid })
}

fn judge(path: &Path, meta: &Metadata, owners: &[u32], last: bool) -> Result<(), Problem> {
    owned(path, meta, owners)?;
    let sticky = !last && meta.is_dir() && meta.mode() & 0o1000 != 0;
    if meta.mode() & 0o022 != 0 && !sticky {
        return Err(Problem::Writable { path: path.into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client");
        std::fs::write(&file, "").unwrap();
        assert!(check(&file, &[]).is_ok());
        for open in [0o757, 0o775, 0o1757] {
            mode(&file, open);
            assert!(matches!(check(&file, &[]), Err(Problem::Writable { path }) if path == file));
        }
        mode(&file, 0o755);
        mode(folder.path(), 0o777);
        assert!(matches!(check(&file, &[]), Err(Problem::Writable { path }) if path == folder.path()));
    }

    #[test]
    fn a_sticky_folder_is_accepted_on_the_way_and_not_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client");
        std::fs::write(&file, "").unwrap();
        mode(folder.path(), 0o1777);
        assert!(check(&file, &[]).is_ok());
        assert!(matches!(check(folder.path(), &[]), Err(Problem::Writable { .. })));
        assert!(matches!(check(&folder.path().join("sub/.."), &[]), Err(Problem::Unreadable { .. })));
    }

    #[test]
    fn a_link_is_followed_and_what_could_turn_it_is_judged() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        let closed = folder.path().join("closed");
        for path in [&open, &closed] {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("client"), "").unwrap();
        }
        symlink(closed.join("client"), open.join("link")).unwrap();
        symlink("../open/client", closed.join("link")).unwrap();
        symlink("turns", closed.join("turns")).unwrap();
        assert!(check(&open.join("link"), &[]).is_ok());
        assert!(check(&closed.join("link"), &[]).is_ok());
        assert!(matches!(check(&closed.join("turns"), &[]), Err(Problem::Links { .. })));
        mode(&open, 0o777);
        // Where the link leads is sound, but somebody could turn it.
        assert!(matches!(check(&open.join("link"), &[]), Err(Problem::Writable { path }) if path == open));
        assert!(matches!(check(&closed.join("link"), &[]), Err(Problem::Writable { path }) if path == open));
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client");
        std::fs::write(&file, "").unwrap();
        lchown(&file, Some(65534), None).unwrap();
        assert!(matches!(check(&file, &[]), Err(Problem::Owner { uid: 65534, .. })));
        assert!(check(&file, &[65534]).is_ok());
        let link = folder.path().join("link");
        symlink("/bin/sh", &link).unwrap();
        assert!(check(&link, &[]).is_ok());
        lchown(&link, Some(65534), None).unwrap();
        assert!(matches!(check(&link, &[]), Err(Problem::Owner { path, .. }) if path == link));
    }
}
