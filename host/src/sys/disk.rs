//! Making sure that bytes are on disk, and that only one of us runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock, syncfs};

/// A link in the last place is an error.
const NOFOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// The paths, without those that lie on the filesystem of another. One that cannot be looked at stays: its sync says why.
pub fn one_for_each_filesystem(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    paths.into_iter().filter(|p| std::fs::metadata(p).map_or(true, |m| seen.insert(m.dev()))).collect()
}

/// Syncs the whole filesystem that holds `path`: a folder or a plain file. Others than we have said where that is, so
/// nothing else is opened: opening a device can already do something.
///
/// # Errors
/// What the system gives.
pub fn sync_filesystem(path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let place = File::options().read(true).custom_flags(OFlags::PATH.bits().cast_signed()).open(path)?;
    let meta = place.metadata()?;
    if !meta.is_dir() && !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a folder nor a file"));
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    Ok(syncfs(File::options().read(true).custom_flags(flags).open(again)?)?)
}

/// Syncs the filesystems of several, each once and all at the same time. Gives for each of the several what went wrong, in
/// words, if something did.
pub fn sync_each(several: &[Vec<PathBuf>]) -> Vec<Option<String>> {
    let device = |path: &PathBuf| std::fs::metadata(path).map(|m| m.dev()).ok();
    let mut filesystems: BTreeMap<Option<u64>, BTreeSet<&PathBuf>> = BTreeMap::new();
    for path in several.iter().flatten() {
        let all = filesystems.entry(device(path)).or_default();
        // Each that cannot be looked at, so that its sync says why.
        if all.is_empty() || device(path).is_none() {
            all.insert(path);
        }
    }
    let sync = |path: &PathBuf| sync_filesystem(path).err().map(|e| format!("{}: {e}", path.display()));
    let failed: BTreeMap<Option<u64>, String> = std::thread::scope(|scope| {
        let mut paths = filesystems.iter().flat_map(|(device, paths)| paths.iter().map(move |p| (*device, *p)));
        let first = paths.next();
        let others: Vec<_> = paths.map(|(device, path)| (device, scope.spawn(move || sync(path)))).collect();
        let first = first.and_then(|(device, path)| Some((device, sync(path)?)));
        let joined = others.into_iter().filter_map(|(device, thread)| {
            Some((device, thread.join().unwrap_or_else(|_| Some("its thread was lost".into()))?))
        });
        first.into_iter().chain(joined).collect()
    });
    several.iter().map(|paths| paths.iter().find_map(|path| failed.get(&device(path)).cloned())).collect()
}

/// Takes the lock of a state directory. `None` when somebody else holds it. It is released when the file is dropped.
///
/// # Errors
/// What opening the file gives.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    let open = |create: bool| {
        let mut options = File::options();
        options.read(true).write(true).create(create).truncate(false).mode(0o600).custom_flags(NOFOLLOW).open(path)
    };
    // Asking for it to be made would wait for a disk that is frozen, also where it is there.
    let file = match open(false) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => open(true)?,
        other => other?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The same, and waits until whoever holds it has let go, for so long at most.
///
/// # Errors
/// What opening the file gives.
pub fn lock_within(path: &Path, longest: Duration) -> io::Result<Option<File>> {
    let deadline = Instant::now() + longest;
    loop {
        match lock(path) {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
}

/// Replaces a file whole, and on disk, or leaves it as it was.
///
/// # Errors
/// What the system gives.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let new = folder.join(format!(".{}.new", name.to_string_lossy()));
    if let Err(e) = std::fs::remove_file(&new)
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_synced_fails_those_that_need_it_alone() {
        let [good, bad] = ["/", "/not/there"].map(PathBuf::from);
        let said = sync_each(&[vec![good.clone()], vec![good.clone(), bad.clone()], Vec::new(), vec![good, bad]]);
        let failed: Vec<bool> = said.iter().map(|why| why.as_ref().is_some_and(|w| w.contains("/not/there"))).collect();
        assert_eq!(failed, [false, true, false, true], "{said:?}");
    }
}
