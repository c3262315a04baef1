//! Making sure that bytes are on disk, and that only one of us runs.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock, syncfs};
use stillpoint_contract::manifest::is_hidden;

/// A link in the last place is an error.
const NOFOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Whether a path that others have named is whole and leads where it seems to.
pub fn is_plain(path: &Path) -> bool {
    let named = |text: &str| !text.contains(is_hidden) && !text.split('/').any(|part| part == "." || part == "..");
    path.is_absolute() && path.to_str().is_some_and(named)
}

/// A filesystem on which data lies, opened: whoever owns the path on it can put another in its place.
#[derive(Debug, Clone)]
pub struct Filesystem {
    /// Its device.
    pub device: u64,
    /// A path on it.
    pub path: PathBuf,
    /// Of which nothing can be read: to close it waits for nobody.
    place: Arc<File>,
}

impl Filesystem {
    /// Opens what `path` lies on: a folder or a plain file. Others than we have said where that is, so nothing else is opened:
    /// opening a device can already do something.
    ///
    /// # Errors
    /// What the system gives.
    pub fn open(path: &Path) -> io::Result<Filesystem> {
        let place = File::options().read(true).custom_flags(OFlags::PATH.bits().cast_signed()).open(path)?;
        let meta = place.metadata()?;
        if !meta.is_dir() && !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a folder nor a file"));
        }
        Ok(Filesystem { device: meta.dev(), path: path.into(), place: Arc::new(place) })
    }

    /// Writes out all of it. May block.
    ///
    /// # Errors
    /// What the system gives.
    pub fn sync(&self) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let again = format!("/proc/self/fd/{}", self.place.as_raw_fd());
        Ok(syncfs(File::options().read(true).custom_flags(flags).open(again)?)?)
    }
}

/// The filesystems on which these lie, each once.
///
/// # Errors
/// The first path that cannot be opened, and why.
pub fn filesystems(paths: &[PathBuf]) -> Result<Vec<Filesystem>, (PathBuf, io::Error)> {
    let mut all: Vec<Filesystem> = Vec::new();
    for path in paths {
        let one = Filesystem::open(path).map_err(|e| (path.clone(), e))?;
        if all.iter().all(|known| known.device != one.device) {
            all.push(one);
        }
    }
    Ok(all)
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
