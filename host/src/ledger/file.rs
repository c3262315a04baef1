//! The ledger's file: one line for each act, each with its length and checksum, so that a torn last line is known.
//!
//! `LENGTH CHECKSUM JSON`, where the length counts the bytes of the JSON in decimal and the checksum is their CRC-32 in
//! hexadecimal. A person can read it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Ledger, Line};

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

    /// Opens the file that is there, while nobody else writes to it.
    ///
    /// # Errors
    /// What the system gives; `InvalidData` for a damaged file.
    pub fn reopen(path: &Path) -> io::Result<LedgerFile> {
        let file = File::options().append(true).open(path)?;
        let bytes = std::fs::read(path)?;
        let whole: usize = parse(&bytes)?.iter().map(line).map(|l| l.map_or(0, |l| l.len())).sum();
        // Half a line would hide every line behind it, and look like a damaged file.
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
        Ok(file) => file.take(64 * 1024 * 1024).read_to_end(&mut bytes)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let lines = parse(&bytes)?;
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

/// A line as it stands in the file.
///
/// # Errors
/// What cannot be written as JSON.
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
    use super::*;
    use proptest::prelude::*;

    fn lines() -> Vec<Line> {
        let mut out = vec![Line::Open { version: super::super::VERSION, cycle: "c".into(), boot: "b".into() }];
        out.extend((1..5).map(|number| Line::Undone { number, how: "undone".into() }));
        out
    }

    proptest! {
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
