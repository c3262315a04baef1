//! The ledger's file: whatever its bytes, and whatever happens to a good one.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use stillpoint::ledger::file::{LedgerFile, line, parse, read};
use stillpoint::ledger::{Ledger, Line, VERSION};
use tempfile::NamedTempFile;

/// As they are: reading the bytes ends, gives whole lines from the front, and is `None` only for an empty file.
///
/// Then mended: each line's JSON gets its length and checksum back, where it is a line of the ledger at all. Of that
/// good file:
///
/// - it reads as its lines, and these write the same file;
/// - cut anywhere – a torn write – it reads as its whole lines, and never as an error;
/// - with a byte changed, it is an error, or reads as the same lines, or as all but the last one where that changed: a
///   damaged middle is never taken for a torn tail;
/// - torn, opened again and written to, it reads as its whole lines and what was written;
/// - what it replays to holds nothing that was undone, and everything that was not;
/// - a second cycle, or another version, in it arms nothing.
pub fn check(bytes: &[u8]) {
    as_it_is(bytes);
    let lines = mended(bytes);
    let written: Vec<String> = lines.iter().map(|l| line(l).unwrap()).collect();
    let file = written.concat().into_bytes();
    assert_eq!(parse(&file).unwrap(), lines);
    // Where each line ends.
    let ends: Vec<usize> = written
        .iter()
        .scan(0, |end, l| {
            *end += l.len();
            Some(*end)
        })
        .collect();
    for at in places(bytes, file.len()).into_iter().chain(ends.iter().map(|end| end - 1)) {
        let whole = ends.iter().filter(|end| **end <= at).count();
        assert_eq!(parse(&file[..at]).unwrap(), lines[..whole], "torn at {at}");
        torn_or_broken(&file, &lines, &ends, at, bytes.len() as u8);
    }
    let at = places(bytes, file.len()).pop().unwrap_or_default();
    goes_on(&file[..at], lines.first());
    replays(&lines);
}

/// How many undos the mended file arms.
pub fn armed(bytes: &[u8]) -> usize {
    Ledger::replay(mended(bytes)).map_or(0, |l| l.armed().count())
}

fn as_it_is(bytes: &[u8]) {
    if let Ok(lines) = parse(bytes) {
        let written: Vec<String> = lines.iter().map(|l| line(l).unwrap()).collect();
        assert_eq!(parse(written.concat().as_bytes()).unwrap(), lines);
        assert!(lines.len() <= bytes.iter().filter(|b| **b == b'\n').count());
    }
    with_file(bytes, |path| is_never_silently_empty(bytes, path));
}

fn with_file(bytes: &[u8], then: impl Fn(&Path)) {
    thread_local!(static FILE: NamedTempFile = NamedTempFile::new().unwrap());
    FILE.with(|file| {
        file.as_file().set_len(0).unwrap();
        file.as_file().write_all_at(bytes, 0).unwrap();
        then(file.path());
    });
}

/// A torn file gets more lines.
fn goes_on(torn: &[u8], more: Option<&Line>) {
    let Some(more) = more else { return };
    with_file(torn, |path| {
        let mut file = LedgerFile::reopen(path).unwrap();
        file.append(more, false).unwrap();
        file.append(more, false).unwrap();
        let wanted: Vec<Line> = parse(torn).unwrap().into_iter().chain([more.clone(), more.clone()]).collect();
        assert_eq!(parse(&std::fs::read(path).unwrap()).unwrap(), wanted);
    });
}

/// `None` means that nothing was frozen: for an empty file alone.
fn is_never_silently_empty(bytes: &[u8], path: &Path) {
    match read(path) {
        Ok(None) => assert!(bytes.is_empty() || !parse(bytes).unwrap().is_empty(), "a broken file, taken for none"),
        Ok(Some(_)) => assert!(matches!(parse(bytes).unwrap()[..], [Line::Open { version: VERSION, .. }, ..])),
        Err(e) => assert_eq!(e.kind(), io::ErrorKind::InvalidData),
    }
}

/// Every line of these bytes that is one of the ledger's but for its length and checksum.
fn mended(bytes: &[u8]) -> Vec<Line> {
    let json = |l: &[u8]| l.iter().position(|b| *b == b'{').and_then(|at| serde_json::from_slice(&l[at..]).ok());
    bytes.split(|b| *b == b'\n').filter_map(json).take(64).collect()
}

/// Some places in a file of this length: its ends, and others that differ with the input.
fn places(bytes: &[u8], length: usize) -> Vec<usize> {
    let mut random = crc32fast::hash(bytes);
    let mut out = vec![0, length, length.saturating_sub(1)];
    for _ in 0..16 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.push((random >> 8) as usize % (length + 1));
    }
    out
}

/// One byte changes.
fn torn_or_broken(file: &[u8], lines: &[Line], ends: &[usize], at: usize, change: u8) {
    if at >= file.len() {
        return;
    }
    let mut broken = file.to_vec();
    broken[at] ^= change.max(1);
    let changed = ends.iter().filter(|end| **end <= at).count();
    if let Ok(read) = parse(&broken)
        && read != lines
    {
        assert_eq!(read, lines[..changed], "changed at {at}");
        assert_eq!(
            changed + 1,
            lines.len(),
            "line {} of {} is broken, and taken for a torn tail",
            changed + 1,
            lines.len()
        );
    }
}

fn replays(lines: &[Line]) {
    let good = matches!(lines, [Line::Open { version: VERSION, .. }, ..]);
    let replayed = Ledger::replay(lines.to_vec());
    assert_eq!(replayed.is_some(), good);
    let Some(ledger) = replayed else { return };
    let more = lines[1..].iter().position(|l| matches!(l, Line::Open { .. })).map_or(lines.len(), |at| at + 1);
    let lines = &lines[1..more];
    // A number is armed once, and a line that closes it counts wherever it stands: two threads may have written.
    let undone = |number: u32| lines.iter().any(|l| matches!(l, Line::Undone { number: n, .. } if *n == number));
    let mut wanted: Vec<u32> = Vec::new();
    for line in lines {
        if let Line::Armed(entry) = line
            && !undone(entry.number)
            && !wanted.contains(&entry.number)
        {
            wanted.push(entry.number);
        }
    }
    wanted.reverse();
    assert_eq!(ledger.armed().map(|e| e.number).collect::<Vec<_>>(), wanted);
}
