//! The ledger's file: one line for each act, each with its length and checksum, so that a torn last line is known.
//!
//! `LENGTH CHECKSUM JSON`, where the length counts the bytes of the JSON in decimal and the checksum is their CRC-32 in
//! hexadecimal. A person can read it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Ledger, Line};

/// The most that is read of it, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The open file.
#[derive(Debug)]
pub struct LedgerFile {
    file: File,
}

impl LedgerFile {
    /// Begins a new file in place of the old one, on disk before this returns.
    ///
    /// # Errors
    /// What the system gives: then nothing may be frozen.
    pub fn begin(path: &Path, first: &Line) -> io::Result<LedgerFile> {
        crate::sys::disk::replace(path, line(first)?.as_bytes())?;
        let file = File::options().append(true).mode(0o600).open(path)?;
        Ok(LedgerFile { file })
    }

    /// A file that nobody can find: for `check`, which arms nothing.
    ///
    /// # Errors
    /// What the system gives.
    pub fn nowhere() -> io::Result<LedgerFile> {
        Ok(LedgerFile { file: File::options().append(true).open("/dev/null")? })
    }

    /// Opens the file that is there, and cuts a torn tail off: what is written behind one could never be read.
    ///
    /// # Errors
    /// What the system gives; `InvalidData` as for [`read`].
    pub fn reopen(path: &Path) -> io::Result<LedgerFile> {
        let mut file = File::options().read(true).append(true).open(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(LARGEST + 1).read_to_end(&mut bytes)?;
        let whole = whole(&bytes)?;
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
        }
        Ok(LedgerFile { file })
    }

    /// Appends a line. It survives the death of this process, and with `sync` that of the machine.
    ///
    /// # Errors
    /// What the system gives: then the freezing statement is not sent.
    pub fn append(&mut self, what: &Line, sync: bool) -> io::Result<()> {
        let whole = self.file.metadata()?.len();
        if let Err(e) = self.file.write_all(line(what)?.as_bytes()) {
            // Half a line would hide every line behind it.
            let _ = self.file.set_len(whole);
            return Err(e);
        }
        if sync { self.file.sync_data() } else { Ok(()) }
    }

    /// Another handle to the same file, for a thread that may block.
    ///
    /// # Errors
    /// What the system gives.
    pub fn again(&self) -> io::Result<LedgerFile> {
        Ok(LedgerFile { file: self.file.try_clone()? })
    }
}

/// Reads a ledger. `None` when there is none, or an empty one: then nothing was frozen.
///
/// # Errors
/// What the system gives; `InvalidData` for a version that this build does not know, or a first line that is broken.
pub fn read(path: &Path) -> io::Result<Option<Ledger>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LARGEST + 1).read_to_end(&mut bytes)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    replay(&bytes)
}

/// The ledger that these bytes tell. `None` when there are none.
///
/// # Errors
/// `InvalidData`, as for [`read`].
pub fn replay(bytes: &[u8]) -> io::Result<Option<Ledger>> {
    let lines = parse(bytes)?;
    match lines.first() {
        None if bytes.is_empty() => Ok(None),
        // The first line is put there whole: this is no torn write.
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is broken")),
        Some(Line::Open { version, .. }) if *version != super::VERSION => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("ledger of version {version}")))
        }
        Some(_) => Ok(Ledger::replay(lines)),
    }
}

/// One line, as it is written.
///
/// # Errors
/// None that a line of ours gives.
pub fn line(what: &Line) -> io::Result<String> {
    let json = serde_json::to_string(what)?;
    Ok(format!("{} {:08x} {json}\n", json.len(), crc32fast::hash(json.as_bytes())))
}

/// Every whole line up to the first that is not. Only the last line can be torn: whole ones behind it mean that the file
/// was damaged.
///
/// # Errors
/// `InvalidData` for a damaged file.
pub fn parse(mut bytes: &[u8]) -> io::Result<Vec<Line>> {
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than any ledger of ours"));
    }
    let mut out = Vec::new();
    while let Some((what, rest)) = next(bytes) {
        out.push(what);
        bytes = rest;
    }
    // Not only where a line begins: the break may have taken the line's end.
    if (1..bytes.len()).any(|at| next(&bytes[at..]).is_some()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("its line {} is broken", out.len() + 1)));
    }
    Ok(out)
}

/// How many bytes hold whole lines.
fn whole(bytes: &[u8]) -> io::Result<usize> {
    parse(bytes)?;
    let mut rest = bytes;
    while let Some((_, behind)) = next(rest) {
        rest = behind;
    }
    Ok(bytes.len() - rest.len())
}

fn next(bytes: &[u8]) -> Option<(Line, &[u8])> {
    let space = bytes.iter().take(12).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let checksum = bytes.get(space + 1..space + 9)?;
    let json = bytes.get(space + 10..(space + 10).checked_add(length)?)?;
    let rest = bytes.get(space + 10 + length..)?.strip_prefix(b"\n")?;
    if format!("{:08x}", crc32fast::hash(json)).as_bytes() != checksum {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Entry, Filesystem, Undo};
    use super::*;
    use crate::sys::freeze::Superblock;
    use proptest::prelude::*;
    use stillpoint_contract::manifest::Lasts;

    fn lines() -> Vec<Line> {
        let mut out = vec![Line::Open { version: super::super::VERSION, cycle: "c".into(), boot: "b".into() }];
        out.extend((1..5).map(|number| Line::Undone { number, how: "undone".into() }));
        out
    }

    /// What the server, the disk and the kernel hold, and the bytes of the ledger's file.
    #[derive(Default)]
    struct World {
        frozen: BTreeSet<u8>,
        bytes: Vec<u8>,
        /// Steps until the crash; then how many bytes of the line under way are on disk.
        left: usize,
        torn: usize,
    }

    struct Crash;

    impl World {
        fn step(&mut self) -> Result<(), Crash> {
            self.left = self.left.checked_sub(1).ok_or(Crash)?;
            Ok(())
        }

        fn append(&mut self, what: &Line) -> Result<(), Crash> {
            let line = line(what).unwrap();
            if self.step().is_err() {
                self.bytes.extend_from_slice(&line.as_bytes()[..self.torn % (line.len() + 1)]);
                return Err(Crash);
            }
            self.bytes.extend_from_slice(line.as_bytes());
            Ok(())
        }

        /// Freezes, or takes back, in the order that the host keeps.
        fn act(&mut self, ledger: &mut Ledger, freeze: bool, which: u8) -> Result<(), Crash> {
            if freeze {
                if let Some(line) = ledger.arm(entry(which)) {
                    self.append(&line)?;
                }
                self.step()?;
                self.frozen.insert(which);
            } else {
                self.step()?;
                self.frozen.remove(&which);
                for line in ledger.disarm("undone", |e| e.froze == which.to_string()) {
                    self.append(&line)?;
                }
            }
            Ok(())
        }

        fn recover(&mut self) -> Result<(), Crash> {
            let mut ledger = replay(&self.bytes).expect("a crash leaves no more than a torn tail").unwrap_or_default();
            self.bytes.truncate(whole(&self.bytes).unwrap());
            let armed: Vec<u8> = ledger.armed().map(|e| e.froze.parse().unwrap()).collect();
            for frozen in &self.frozen {
                assert!(armed.contains(frozen), "{frozen} stands still, and the ledger knows nothing of it");
            }
            for which in armed {
                self.act(&mut ledger, false, which)?;
            }
            Ok(())
        }
    }

    fn entry(which: u8) -> Entry {
        let superblock = Superblock { device: format!("8:{which}"), kind: "ext4".into() };
        let filesystem = Filesystem { path: format!("/srv/{which}").into(), superblock };
        let (froze, undo) = (which.to_string(), Undo::Filesystem(filesystem));
        Entry { number: 0, workload: "w".into(), froze, lasts: Lasts::Disk, undo }
    }

    proptest! {
        /// Any prefix of any sequence of operations, with a crash and a torn write anywhere, and with more crashes while
        /// that is taken back, ends with nothing frozen and nothing armed.
        #[test]
        fn whatever_is_lost_nothing_stays_armed(
            acts in prop::collection::vec((any::<bool>(), 0u8..5), 0..30),
            crashes in prop::collection::vec((0usize..40, 0usize..400), 1..4),
        ) {
            let (mut ledger, first) = Ledger::open("c", "b");
            let mut crashes = crashes.into_iter();
            let (left, torn) = crashes.next().unwrap();
            let mut world = World { left, torn, bytes: line(&first).unwrap().into_bytes(), ..World::default() };
            for (freeze, which) in acts {
                if world.act(&mut ledger, freeze, which).is_err() {
                    break;
                }
            }
            for (left, torn) in crashes {
                (world.left, world.torn) = (left, torn);
                let _ = world.recover();
            }
            world.left = usize::MAX;
            prop_assert!(world.recover().is_ok());
            prop_assert!(world.frozen.is_empty());
            let ledger = replay(&world.bytes).unwrap().unwrap();
            prop_assert_eq!(ledger.armed().count(), 0);
        }

        #[test]
        fn a_torn_or_broken_tail_costs_only_the_tail(cut in 0usize..400, flip in 0usize..400) {
            let whole: String = lines().iter().map(|l| line(l).unwrap()).collect();
            let mut bytes = whole.into_bytes();
            bytes.truncate(cut.min(bytes.len()));
            if flip < bytes.len() {
                bytes[flip] ^= 0x20;
            }
            // A break before the last line is told; otherwise what is read is what was written.
            if let Ok(read) = parse(&bytes) {
                prop_assert_eq!(&read[..], &lines()[..read.len()]);
            }
        }
    }
}
