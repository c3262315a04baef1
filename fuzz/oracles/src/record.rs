//! The audit record: whatever the bytes of its file, and whatever happens to a good one.

use std::collections::BTreeMap;

use stillpoint::audit::chain::{Head, Line, NOTHING, Walk, is_cycle, is_hash};
use stillpoint::audit::verify::{Report, Summary, judge};
use stillpoint::audit::{Begin, VERSION, What};
use stillpoint::cycle::record::Verdict;
use stillpoint::fault::Exit;
use stillpoint::trust::sha256;

const CYCLE: &str = "c0ffee00";

/// As they are: going through them ends, what hangs together is written as it was read, and they are never what a head
/// belongs to that they were not written for. What is taken for a head is a cycle and a hash.
///
/// Then mended: each line's entry is written anew, one after the other. That file is good, and its head is found. It is not
/// any more when it is cut anywhere, when any byte is changed, when a line is taken out, doubled, or changes places with
/// the next.
pub fn check(bytes: &[u8]) {
    as_they_are(bytes);
    let lines = mended(bytes);
    let whole = lines.concat();
    let last = sha256(lines.last().unwrap());
    let head = Head { cycle: CYCLE.into(), hash: last.clone() };
    let good = judged(&whole, &head, Some(&last));
    assert!(good.is_good() && good.held.as_deref() == Some(CYCLE), "{good:?}");
    let bad = |changed: &[u8], how: &str| {
        let report = judged(changed, &head, Some(&last));
        assert!(changed == whole || !report.is_good(), "{how}, and called good");
    };
    let mut random = crc32fast::hash(bytes);
    for n in 0..24 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let at = (random >> 8) as usize % whole.len();
        bad(&whole[..at], "cut");
        let mut changed = whole.clone();
        changed[at] ^= (bytes.len() as u8).max(1);
        bad(&changed, "changed");
        let (one, mut moved) = (n % lines.len(), lines.clone());
        moved.swap(one, (one + 1) % lines.len());
        bad(&moved.concat(), "moved");
        let mut less = lines.clone();
        less.remove(one);
        bad(&less.concat(), "taken out");
        let mut more = lines.clone();
        more.insert(one, lines[one].clone());
        bad(&more.concat(), "doubled");
    }
}

fn judged(bytes: &[u8], head: &Head, asked: Option<&str>) -> Report {
    judge(vec![Summary::of(CYCLE, bytes, Some(head))], Some(head), asked, false)
}

fn as_they_are(bytes: &[u8]) {
    let walk = Walk::of(CYCLE, bytes);
    assert_eq!(walk.lines.len(), walk.hashes.len());
    assert!(walk.whole <= bytes.len() && (walk.broken.is_some() || !bytes[walk.whole..].contains(&b'\n')));
    let head = Head { cycle: CYCLE.into(), hash: "a".repeat(64) };
    assert!(!judged(bytes, &head, None).is_good());
    assert!(!judge(vec![Summary::of(CYCLE, bytes, None)], None, None, true).is_good());
    if let Some(last) = walk.hashes.last() {
        // A record of the very bytes: good or not, another head is never found in it.
        let own = Head { cycle: CYCLE.into(), hash: last.clone() };
        assert_eq!(judged(bytes, &own, Some(&head.hash)).held, None);
    }
    if let Some(read) = std::str::from_utf8(bytes).ok().and_then(Head::parse) {
        assert!(is_cycle(&read.cycle) && is_hash(&read.hash));
        assert_eq!(format!("{} {}\n", read.cycle, read.hash).as_bytes(), bytes);
    }
}

/// A good file of every entry in these bytes.
fn mended(bytes: &[u8]) -> Vec<Vec<u8>> {
    let entry = |l: &[u8]| serde_json::from_slice::<Line>(l).ok().map(|l| l.what);
    let inner = bytes.split(|b| *b == b'\n').filter_map(entry);
    let inner = inner.filter(|w| !matches!(w, What::Begin(_) | What::Verdict { .. } | What::Retention { .. })).take(32);
    let begin = What::Begin(Begin {
        version: VERSION,
        cycle: CYCLE.into(),
        after: None,
        stillpoint: String::new(),
        configuration: String::new(),
        workloads: Vec::new(),
    });
    let verdict = What::Verdict {
        verdict: Verdict::Failed,
        kind: None,
        exit: Exit::NotFrozen,
        released_by: None,
        workloads: BTreeMap::new(),
    };
    let mut previous = NOTHING.to_owned();
    let all = std::iter::once(begin).chain(inner).chain([verdict]);
    all.zip(1..)
        .map(|(what, number)| {
            let line = Line { previous: previous.clone(), number, at: "now".into(), torn: false, what };
            let text = line.written().unwrap();
            previous = sha256(&text);
            text
        })
        .collect()
}
