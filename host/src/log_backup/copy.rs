//! One closed log into the folder of its series: whole and verified before it is seen, resumed where a copy was broken off,
//! never over another one. The source is only read.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{
    Advice, CWD, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, fadvise, flock, openat2, renameat_with,
};
use sha2::{Digest, Sha256};

/// The list of what was copied, as `sha256sum --check` reads it.
pub const SUMS: &str = "SHA256SUMS";

/// How much is read at once, in bytes.
const BLOCK: usize = 256 * 1024;

/// How much of the begin and the end of a log is compared with its copy, in bytes.
const END: u64 = 8 * 1024;

/// The largest list that is read, in bytes.
const LARGEST_SUMS: u64 = 256 * 1024 * 1024;

/// What became of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It was copied now: so many bytes of it; the others were there from a copy that was broken off.
    Now(u64),
    /// It was there already.
    Before,
}

/// Why a log was not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Another one of its name is there.
    OtherHistory,
    /// It cannot be read, or should not be.
    Source(String),
    /// It cannot be written.
    Destination(String),
}

impl Refused {
    /// What to do about it, where the copy was to go here.
    pub fn next(&self, folder: &Path) -> String {
        match self {
            Refused::OtherHistory => {
                format!("move {} aside: the logs in it belong to the snapshots before", folder.display())
            }
            Refused::Source(_) => "see whether it is a log of this database, and closed".into(),
            Refused::Destination(_) => "see whether the destination is full, then try again".into(),
        }
    }
}

impl Display for Refused {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::OtherHistory => {
                write!(f, "another log of that name is there: it is of another history, such as before a restore")
            }
            Refused::Source(why) | Refused::Destination(why) => write!(f, "{why}"),
        }
    }
}

/// What the system said, in our words.
fn source(what: &'static str) -> impl Fn(io::Error) -> Refused {
    move |e| Refused::Source(format!("{what}: {e}"))
}

fn destination(what: &'static str) -> impl Fn(io::Error) -> Refused {
    move |e| Refused::Destination(format!("{what}: {e}"))
}

/// The folder that logs of one series are copied to. No name in it leads out of it.
pub struct Folder {
    dir: Dir,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder that is there: one that is missing may be a mount that is absent.
    ///
    /// # Errors
    /// What the system gives.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let opened = openat2(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
        Ok(Folder { dir: Dir::from_std_file(File::from(opened)), path: path.into() })
    }

    /// A folder in it, made where it is missing: for us alone.
    ///
    /// # Errors
    /// What the system gives.
    pub fn inner(&self, name: &str) -> io::Result<Folder> {
        use cap_std::fs::{DirBuilder, DirBuilderExt};
        match self.dir.create_dir_with(name, DirBuilder::new().mode(0o700)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        Ok(Folder { dir: self.dir.open_dir(name)?, path: self.path.join(name) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was copied: each log's checksum by its name.
    ///
    /// # Errors
    /// What the system gives.
    pub fn sums(&self) -> io::Result<BTreeMap<String, String>> {
        // In a database's own folder anything may have that name.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match self.dir.open_with(SUMS, OpenOptions::new().read(true).custom_flags(flags)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            opened => opened?,
        };
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() > LARGEST_SUMS {
            return Err(io::Error::other(format!("{SUMS} is no file of ours")));
        }
        let mut text = String::new();
        file.take(LARGEST_SUMS).read_to_string(&mut text)?;
        Ok(text.lines().filter_map(|l| l.split_once("  ")).map(|(sum, name)| (name.into(), sum.into())).collect())
    }

    /// Copies one log. `sums` is what [`Folder::sums`] gave: of what stands there only begin and end are read again.
    ///
    /// # Errors
    /// [`Refused`]. Nothing is seen of a log that was not copied whole.
    pub fn copy(&self, log: &mut File, name: &str, sums: &BTreeMap<String, String>) -> Result<Copied, Refused> {
        if !is_name(name) {
            let why = "its name is not plain: letters, digits, dots, dashes and underscores";
            return Err(Refused::Source(why.into()));
        }
        let before = log.metadata().map_err(source("it cannot be looked at"))?;
        match self.dir.symlink_metadata(name) {
            Ok(there) if !there.is_file() => {
                return Err(Refused::Destination("something that is no file has its name".into()));
            }
            Ok(there) => return self.compare(log, name, sums.contains_key(name) && there.len() == before.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(destination("its copy cannot be looked at")(e)),
        }
        let hidden = format!(".{name}.part");
        let mut part = self
            .dir
            .open_with(&hidden, OpenOptions::new().read(true).write(true).create(true).mode(0o600))
            .map_err(destination("the copy cannot be begun"))?
            .into_std();
        // A second name would be of another file, which is not ours to write.
        if part.metadata().is_ok_and(|m| !m.is_file() || std::os::unix::fs::MetadataExt::nlink(&m) != 1) {
            return Err(Refused::Destination(format!("{hidden} is no file of ours")));
        }
        flock(&part, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Refused::Destination("somebody else copies it now".into()))?;
        let mut hash = Sha256::new();
        let resumed =
            resume(log, &mut part, &mut hash).map_err(destination("what was copied before cannot be read"))?;
        let copied = append(log, &mut part, &mut hash).map_err(destination("it cannot be copied"))?;
        let after = log.metadata().map_err(source("it cannot be looked at"))?;
        if (after.len(), after.modified().ok()) != (before.len(), before.modified().ok())
            || resumed + copied != after.len()
        {
            return Err(Refused::Source("it changed while it was copied: it is not closed".into()));
        }
        part.sync_all().map_err(destination("the copy cannot be written to disk"))?;
        let sum = hex::encode(hash.finalize());
        // From where it lies, not from memory.
        let _ = fadvise(&part, 0, None, Advice::DontNeed);
        part.rewind().map_err(destination("the copy cannot be read"))?;
        if checksum(&mut part).map_err(destination("the copy cannot be read"))? != sum {
            return Err(Refused::Destination("the copy, read again, is not what was written".into()));
        }
        self.uncover(&hidden, name).map_err(destination("the copy cannot be given its name"))?;
        self.note(name, &sum).map_err(destination("its checksum cannot be written"))?;
        Ok(Copied::Now(copied))
    }

    /// Something has that name already: the same, or a log of another history. Of one that was `verified` when it was copied,
    /// begin and end are compared: they say when it was begun, and by whom.
    fn compare(&self, log: &mut File, name: &str, verified: bool) -> Result<Copied, Refused> {
        let there = self.dir.open(name).map(cap_std::fs::File::into_std);
        let mut there = there.map_err(destination("its copy cannot be read"))?;
        if verified {
            let length = log.metadata().map_err(source("it cannot be looked at"))?.len();
            for from in [0, length.saturating_sub(END)] {
                let ours = part_of(log, from).map_err(source("it cannot be read"))?;
                if ours != part_of(&mut there, from).map_err(destination("its copy cannot be read"))? {
                    return Err(Refused::OtherHistory);
                }
            }
            return Ok(Copied::Before);
        }
        let own = checksum(log).map_err(source("it cannot be read"))?;
        if own != checksum(&mut there).map_err(destination("its copy cannot be read"))? {
            return Err(Refused::OtherHistory);
        }
        self.note(name, &own).map_err(destination("its checksum cannot be written"))?;
        Ok(Copied::Before)
    }

    /// Gives the copy its name, unless something has it.
    fn uncover(&self, hidden: &str, name: &str) -> io::Result<()> {
        match renameat_with(&self.dir, hidden, &self.dir, name, RenameFlags::NOREPLACE) {
            // Some network filesystems cannot. What holds the lock on the hidden file is alone.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !self.dir.try_exists(name)? => {
                self.dir.rename(hidden, &self.dir, name)?;
            }
            renamed => renamed?,
        }
        self.dir.open(".")?.sync_all()
    }

    fn note(&self, name: &str, sum: &str) -> io::Result<()> {
        let mut file = self.dir.open_with(SUMS, OpenOptions::new().append(true).create(true).mode(0o600))?;
        file.write_all(format!("{sum}  {name}\n").as_bytes())?;
        file.sync_all()
    }
}

/// Whether it can be a file's name in the folder, and is none of ours.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=200).contains(&name.len()) && !name.starts_with('.') && name != SUMS && name.chars().all(plain)
}

/// How much of the source is in the part already; both stand behind that, and it is hashed.
fn resume(source: &mut File, part: &mut File, hash: &mut Sha256) -> io::Result<u64> {
    let mut known = 0;
    let (mut ours, mut theirs) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let got = fill(part, &mut ours)?;
        if got == 0 {
            break;
        }
        let has = fill(source, &mut theirs[..got])?;
        if has < got || ours[..got] != theirs[..got] {
            *hash = Sha256::new();
            known = 0;
            break;
        }
        hash.update(&ours[..got]);
        known += got as u64;
    }
    part.set_len(known)?;
    part.seek(SeekFrom::Start(known))?;
    source.seek(SeekFrom::Start(known))?;
    Ok(known)
}

fn append(source: &mut File, part: &mut File, hash: &mut Sha256) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut copied = 0;
    loop {
        let got = fill(source, &mut block)?;
        if got == 0 {
            return Ok(copied);
        }
        part.write_all(&block[..got])?;
        hash.update(&block[..got]);
        copied += got as u64;
    }
}

fn part_of(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(END).read_to_end(&mut out)?;
    Ok(out)
}

fn checksum(file: &mut File) -> io::Result<String> {
    let mut block = vec![0; BLOCK];
    let mut hash = Sha256::new();
    loop {
        match fill(file, &mut block)? {
            0 => return Ok(hex::encode(hash.finalize())),
            got => hash.update(&block[..got]),
        }
    }
}

/// Reads until the block is full or the file ends.
fn fill(file: &mut File, block: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < block.len() {
        match file.read(&mut block[got..])? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(folder: &Path, bytes: &[u8]) -> File {
        let path = folder.join("source");
        std::fs::write(&path, bytes).unwrap();
        File::open(path).unwrap()
    }

    fn succeeds(command: &mut std::process::Command) {
        assert!(command.status().unwrap().success(), "{command:?}");
    }

    fn copy(folder: &Folder, from: &mut File) -> Result<Copied, Refused> {
        folder.copy(from, "log.000001", &folder.sums().unwrap())
    }

    #[test]
    fn a_log_is_copied_once_and_never_over_another() {
        let own = tempfile::tempdir().unwrap();
        let to = own.path().join("to");
        std::fs::create_dir(&to).unwrap();
        let folder = Folder::open(&to).unwrap();
        let bytes = vec![7; BLOCK + 5];
        assert_eq!(copy(&folder, &mut source(own.path(), &bytes)), Ok(Copied::Now(bytes.len() as u64)));
        assert_eq!(copy(&folder, &mut source(own.path(), &bytes)), Ok(Copied::Before));
        assert_eq!(std::fs::read(to.join("log.000001")).unwrap(), bytes);
        // A restored server begins logs of the same names; PostgreSQL's have the same length, too.
        for (at, length) in [(0, 9), (0, bytes.len()), (bytes.len() - 1, bytes.len())] {
            let mut other = vec![7; length];
            other[at] = 8;
            assert_eq!(copy(&folder, &mut source(own.path(), &other)), Err(Refused::OtherHistory), "{at}");
        }
        assert_eq!(std::fs::read(to.join("log.000001")).unwrap(), bytes);
        let check = std::process::Command::new("sha256sum").args(["--check", SUMS]).current_dir(&to).output().unwrap();
        assert!(check.status.success(), "{check:?}");
        // Its checksum was lost with a crash just after it was given its name.
        std::fs::remove_file(to.join(SUMS)).unwrap();
        assert_eq!(copy(&folder, &mut source(own.path(), &bytes)), Ok(Copied::Before));
        assert_eq!(folder.sums().unwrap().len(), 1);
    }

    #[test]
    fn a_copy_that_was_broken_off_goes_on_where_it_is_the_same() {
        let own = tempfile::tempdir().unwrap();
        let to = own.path().join("to");
        std::fs::create_dir(&to).unwrap();
        let folder = Folder::open(&to).unwrap();
        let bytes: Vec<u8> = (0..3 * BLOCK).map(|i| (i / 1000) as u8).collect();
        for (there, left) in [(&bytes[..BLOCK + 17], 2 * BLOCK - 17), (&[9; 100][..], bytes.len())] {
            let _ = std::fs::remove_file(to.join("log.000001"));
            let _ = std::fs::remove_file(to.join(SUMS));
            std::fs::write(to.join(".log.000001.part"), there).unwrap();
            assert_eq!(copy(&folder, &mut source(own.path(), &bytes)), Ok(Copied::Now(left as u64)));
            assert_eq!(std::fs::read(to.join("log.000001")).unwrap(), bytes);
            assert!(!to.join(".log.000001.part").exists());
        }
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let own = tempfile::tempdir().unwrap();
        let to = own.path().join("to");
        std::fs::create_dir(&to).unwrap();
        let victim = own.path().join("victim");
        std::fs::write(&victim, "untouched").unwrap();
        let folder = Folder::open(&to).unwrap();
        for name in ["log.000001", ".log.000001.part"] {
            std::os::unix::fs::symlink(&victim, to.join(name)).unwrap();
            assert!(copy(&folder, &mut source(own.path(), b"x")).is_err(), "{name}");
            assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
            std::fs::remove_file(to.join(name)).unwrap();
        }
        for make in ["mkfifo", "mkdir"] {
            succeeds(std::process::Command::new(make).arg(to.join(SUMS)));
            assert!(folder.sums().is_err(), "{make}");
            succeeds(std::process::Command::new("rm").arg("-r").arg(to.join(SUMS)));
        }
        for name in ["", ".x", "a/b", "..", SUMS, "a b"] {
            assert!(folder.copy(&mut source(own.path(), b"x"), name, &BTreeMap::new()).is_err(), "{name}");
        }
    }
}
