//! The file of one cycle: JSON lines, each with the SHA-256 of the whole line before it, line break and all. The first
//! carries the head of the cycle before, so that the chain goes through all cycles.
//!
//! `head` names the newest cycle and the SHA-256 of its last line, and with stock tools:
//! `tail -n 1 CYCLE.chain | sha256sum`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Begin, Entry, Removed, What, Who, sha256};
use crate::cycle::record::Verdict;
use crate::fault::Exit;
use crate::sys::disk;

/// What stands in place of a head where nothing came before: 64 zeros.
pub const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The file of a cycle that `head` does not name yet.
const BEGUN: &str = ".begun";

/// How the name of a file ends.
const END: &str = ".chain";

/// The most that is read of one file, in bytes.
const LARGEST: u64 = 256 * 1024 * 1024;

/// The most that is read of a first line, in bytes.
const LONGEST_FIRST: u64 = 1024 * 1024;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// SHA-256 of the line before it.
    pub previous: String,
    /// Counts from 1 within the cycle.
    pub number: u64,
    /// When it began.
    pub at: String,
    /// A line before it was torn by the end of its process, and cut off.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub torn: bool,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

impl Line {
    /// As it stands in the file.
    ///
    /// # Errors
    /// None that a line of ours gives.
    pub fn written(&self) -> io::Result<Vec<u8>> {
        let mut out = serde_json::to_vec(self)?;
        out.push(b'\n');
        Ok(out)
    }
}

/// The newest cycle, and the hash of its last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The cycle's id.
    pub cycle: String,
    /// In hexadecimal.
    pub hash: String,
}

impl Head {
    /// As it stands in the file `head`: `CYCLE HASH`.
    pub fn parse(text: &str) -> Option<Head> {
        let (cycle, hash) = text.strip_suffix('\n')?.split_once(' ')?;
        let good = is_cycle(cycle) && is_hash(hash);
        good.then(|| Head { cycle: cycle.into(), hash: hash.into() })
    }
}

/// Whether it is the id of a cycle: nothing else becomes a part of a path.
pub fn is_cycle(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether it is a SHA-256 as it is written here.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The open file.
#[derive(Debug)]
pub struct Chain {
    folder: PathBuf,
    cycle: String,
    file: File,
    last: String,
    number: u64,
    torn: bool,
}

impl Chain {
    /// Begins the record of a cycle behind the newest, which is ended where it was left without an end. Only the newest
    /// `keep` stay. On disk before this returns.
    ///
    /// # Errors
    /// What the system gives: then nothing may be frozen.
    pub fn begin(folder: &Path, mut begin: Begin, keep: u32) -> io::Result<Chain> {
        let before = match heal(folder).and_then(|()| read_head(folder)) {
            // What is no head is no reason not to freeze. What came before then stands apart from the chain, and shows.
            Err(e) if e.kind() == io::ErrorKind::InvalidData => None,
            other => other?,
        };
        let previous = match &before {
            None => NOTHING.into(),
            Some(head) => match Chain::reopen(folder, &head.cycle) {
                Ok(mut newest) => newest.end()?,
                // Gone, or not what was written: what it was stays in the chain, and shows.
                Err(_) => head.hash.clone(),
            },
        };
        begin.after = before.map(|h| h.cycle);
        let removed = superfluous(folder, begin.after.as_deref(), keep.max(1) as usize - 1)?;
        let (new, path) = (folder.join(BEGUN), path(folder, &begin.cycle));
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let _ = std::fs::remove_file(&new);
        let file = File::options().append(true).create_new(true).mode(0o600).open(&new)?;
        let mut chain =
            Chain { folder: folder.into(), cycle: begin.cycle.clone(), file, last: previous, number: 0, torn: false };
        let mut entries = vec![Entry::from(What::Begin(begin))];
        if !removed.is_empty() {
            entries.push(What::Retention { removed: removed.clone() }.into());
        }
        chain.append(&entries)?;
        // Whenever this process dies: `head` names a file that is there, under one of both names.
        chain.settle()?;
        std::fs::rename(&new, &path)?;
        for Removed { cycle, .. } in removed {
            let _ = std::fs::remove_file(folder.join(format!("{cycle}.json")));
            let _ = std::fs::remove_file(self::path(folder, &cycle));
        }
        Ok(chain)
    }

    /// Opens the record of the newest cycle again, which must be this one. A torn line is cut off.
    ///
    /// # Errors
    /// What the system gives; `InvalidData` where it is not what was written.
    pub fn reopen(folder: &Path, cycle: &str) -> io::Result<Chain> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        let head = read_head(folder)?.filter(|h| h.cycle == cycle);
        let head = head.ok_or_else(|| wrong("it is not the newest that is kept"))?;
        let path = path(folder, cycle);
        let bytes = read(&path)?;
        let walk = Walk::of(cycle, &bytes);
        if walk.broken.is_some() || !walk.hashes.contains(&head.hash) {
            return Err(wrong("it is not what was written"));
        }
        let last = walk.hashes.last().cloned().unwrap_or(head.hash);
        let file = File::options().append(true).open(&path)?;
        let torn = walk.whole < bytes.len();
        if torn {
            file.set_len(walk.whole as u64)?;
        }
        let number = walk.lines.len() as u64;
        let mut chain = Chain { folder: folder.into(), cycle: cycle.into(), file, last, number, torn };
        if !torn && walk.is_ended() {
            // `head` may have been late.
            chain.settle()?;
        }
        Ok(chain)
    }

    /// Ends it, where that is missing. Gives its head.
    fn end(&mut self) -> io::Result<String> {
        let bytes = read(&path(&self.folder, &self.cycle))?;
        if self.torn || !Walk::of(&self.cycle, &bytes).is_ended() {
            let verdict = What::Verdict {
                verdict: Verdict::Failed,
                kind: None,
                exit: Exit::Inconsistent,
                released_by: None,
                workloads: Default::default(),
            };
            self.append(&[What::Lost { by: Who::Recovery }.into(), verdict.into()])?;
            self.settle()?;
        }
        Ok(self.last.clone())
    }

    /// Appends entries: all, or none.
    ///
    /// # Errors
    /// What the system gives.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let (mut last, mut number, mut torn) = (self.last.clone(), self.number, self.torn);
        let mut out = Vec::new();
        for entry in entries {
            number += 1;
            let (at, what) = (entry.at.to_string(), entry.what.clone());
            let text = Line { previous: last, number, at, torn, what }.written()?;
            last = sha256(&text);
            torn = false;
            out.extend(text);
        }
        let whole = self.file.metadata()?.len();
        if let Err(e) = self.file.write_all(&out) {
            // Half a line would be taken for the end of its process.
            let _ = self.file.set_len(whole);
            return Err(e);
        }
        (self.last, self.number, self.torn) = (last, number, torn);
        Ok(())
    }

    /// Has everything on disk, and `head` name the last line. Gives its hash.
    ///
    /// # Errors
    /// What the system gives.
    pub fn settle(&mut self) -> io::Result<String> {
        self.file.sync_data()?;
        disk::replace(&self.folder.join("head"), format!("{} {}\n", self.cycle, self.last).as_bytes())?;
        Ok(self.last.clone())
    }
}

/// A process died between naming its record in `head` and giving it its name.
fn heal(folder: &Path) -> io::Result<()> {
    let (new, head) = (folder.join(BEGUN), read_head(folder)?);
    let Some(head) = head.filter(|h| new.exists() && !path(folder, &h.cycle).exists()) else { return Ok(()) };
    if sha256_of_last(&read(&new)?) == head.hash { std::fs::rename(new, path(folder, &head.cycle)) } else { Ok(()) }
}

fn sha256_of_last(bytes: &[u8]) -> String {
    sha256(bytes.split_inclusive(|b| *b == b'\n').next_back().unwrap_or_default())
}

/// Ends the newest record, where it was left without an end.
///
/// # Errors
/// What the system gives.
pub fn end_newest(folder: &Path) -> io::Result<()> {
    heal(folder)?;
    match read_head(folder)? {
        Some(head) => Chain::reopen(folder, &head.cycle)?.end().map(drop),
        None => Ok(()),
    }
}

/// The records behind the newest `keep`, the newest first. Only what hangs together is removed: what does not is evidence.
fn superfluous(folder: &Path, newest: Option<&str>, keep: usize) -> io::Result<Vec<Removed>> {
    if kept(folder)?.len() <= keep {
        return Ok(Vec::new());
    }
    let (mut order, mut next) = (Vec::new(), newest.map(str::to_owned));
    while let Some(cycle) = next.filter(|c| !order.contains(c)) {
        next = match first(folder, &cycle) {
            Ok(begin) => begin.after.filter(|c| is_cycle(c)),
            Err(_) => break,
        };
        order.push(cycle);
    }
    let mut out = Vec::new();
    for cycle in order.into_iter().skip(keep) {
        let head = sha256_of_last(&read(&path(folder, &cycle))?);
        out.push(Removed { cycle, head });
    }
    Ok(out)
}

fn first(folder: &Path, cycle: &str) -> io::Result<Begin> {
    match first_line(folder, cycle)?.what {
        What::Begin(begin) => Ok(begin),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn first_line(folder: &Path, cycle: &str) -> io::Result<Line> {
    let mut line = Vec::new();
    BufReader::new(File::open(path(folder, cycle))?).take(LONGEST_FIRST).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// When a cycle began, by its first entry.
pub fn began(folder: &Path, cycle: &str) -> Option<String> {
    first_line(folder, cycle).ok().map(|first| first.at)
}

/// The file of a cycle.
pub fn path(folder: &Path, cycle: &str) -> PathBuf {
    folder.join(format!("{cycle}{END}"))
}

/// Which cycles have a record.
///
/// # Errors
/// What the system gives; none where there is no folder.
pub fn kept(folder: &Path) -> io::Result<Vec<String>> {
    let mut out = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(out),
        other => other?,
    };
    for entry in entries {
        let name = entry?.file_name();
        out.extend(name.to_str().and_then(|n| n.strip_suffix(END)).filter(|c| is_cycle(c)).map(str::to_owned));
    }
    out.sort();
    Ok(out)
}

/// Reads one file whole.
///
/// # Errors
/// What the system gives; `InvalidData` for one that is longer than any of ours.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than any record of ours"));
    }
    Ok(bytes)
}

/// The newest cycle, as `head` names it. `None` where there is none.
///
/// # Errors
/// What the system gives; `InvalidData` where no head stands there.
pub fn read_head(folder: &Path) -> io::Result<Option<Head>> {
    let mut text = String::new();
    match File::open(folder.join("head")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?.take(1024).read_to_string(&mut text)?,
    };
    match Head::parse(&text) {
        Some(head) => Ok(Some(head)),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "it names no cycle and hash")),
    }
}

/// What the bytes of a file hold, up to what is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Its lines.
    pub lines: Vec<Line>,
    /// The hash of each.
    pub hashes: Vec<String>,
    /// How many bytes hold whole lines.
    pub whole: usize,
    /// The entry that is not as it was written, and what is the matter.
    pub broken: Option<(u64, &'static str)>,
}

impl Walk {
    /// Goes through the bytes of the file that bears the name of this cycle.
    pub fn of(cycle: &str, bytes: &[u8]) -> Walk {
        let mut walk = Walk { lines: Vec::new(), hashes: Vec::new(), whole: 0, broken: None };
        for text in bytes.split_inclusive(|b| *b == b'\n').take_while(|l| l.ends_with(b"\n")) {
            let number = walk.lines.len() as u64 + 1;
            let Ok(line) = serde_json::from_slice::<Line>(text) else {
                walk.broken = Some((number, "is no entry: it was changed"));
                return walk;
            };
            let begins = matches!(&line.what, What::Begin(b) if b.cycle == cycle);
            let wrong = match walk.hashes.last() {
                _ if line.number != number => Some((number, "is not there: it was removed, or moved")),
                None if !begins => Some((1, "does not begin this cycle: the file is another's")),
                Some(hash) if *hash != line.previous => {
                    Some((number - 1, "is not the one after which the next was written: it was changed"))
                }
                Some(_) if matches!(line.what, What::Begin(_)) => Some((number, "begins another cycle")),
                _ => None,
            };
            if wrong.is_some() {
                walk.broken = wrong;
                return walk;
            }
            walk.hashes.push(sha256(text));
            walk.lines.push(line);
            walk.whole += text.len();
        }
        walk
    }

    /// Whether its last entry is a verdict.
    pub fn is_ended(&self) -> bool {
        matches!(self.lines.last(), Some(Line { what: What::Verdict { .. }, .. }))
    }
}
