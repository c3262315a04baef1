//! Whether a copy is what was promised: the writers' log against the rows in the copy.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

use crate::writers::Log;

/// A row: writer and sequence number.
pub type Row = (u32, u64);

/// While everything stood still, as the agent knows it.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Just after "frozen" was confirmed to the agent.
    pub frozen: Instant,
    /// Just before the agent asked for the thaw.
    pub thaw_asked: Instant,
}

/// How a copy differs from what was promised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Acknowledged before "frozen", and not in the copy.
    pub missing: Vec<Row>,
    /// Begun after "frozen", and in the copy.
    pub extra: Vec<Row>,
    /// In the copy, and never written.
    pub unknown: Vec<Row>,
    /// In the copy, while an earlier one of the same writer is not.
    pub torn: Vec<Row>,
    /// Begun and acknowledged while everything was said to stand still.
    pub moved: Vec<Row>,
}

impl Differences {
    /// Whether the copy is what was promised.
    pub fn none(&self) -> bool {
        *self == Differences::default()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("acknowledged before the freeze and not in the copy", &self.missing),
            ("begun after the freeze and in the copy", &self.extra),
            ("in the copy and never written", &self.unknown),
            ("in the copy without those before it", &self.torn),
            ("acknowledged while everything stood still", &self.moved),
        ];
        for (what, rows) in kinds {
            if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
                writeln!(f, "{} commits were {what}, from {first:?} to {last:?}", rows.len())?;
            }
        }
        Ok(())
    }
}

/// Compares the writers' log with the rows in a copy that was taken within the window.
pub fn compare(log: &Log, window: Window, copy: &BTreeSet<Row>) -> Differences {
    let mut out = Differences::default();
    let mut unknown = copy.clone();
    for commit in &log.commits {
        let row = (commit.writer, commit.sequence);
        unknown.remove(&row);
        let there = copy.contains(&row);
        let begun_after = commit.begun > window.frozen;
        if commit.acknowledged.is_some_and(|a| a < window.frozen) && !there {
            out.missing.push(row);
        }
        if begun_after && there {
            out.extra.push(row);
        }
        if begun_after && commit.acknowledged.is_some_and(|a| a < window.thaw_asked) {
            out.moved.push(row);
        }
    }
    out.unknown = unknown.into_iter().collect();
    let torn = |(writer, sequence): &&Row| *sequence > 1 && !copy.contains(&(*writer, sequence - 1));
    out.torn = copy.iter().filter(torn).copied().collect();
    out
}

/// Asserts that a copy is what was promised, and that it proves something: it holds rows, and some were written after.
///
/// # Panics
/// When it is not.
pub fn assert_same(what: &str, log: &Log, window: Window, copy: &BTreeSet<Row>) {
    assert!(log.errors.is_empty(), "a writer saw errors: {:?}", log.errors);
    assert!(!copy.is_empty(), "{what} holds nothing");
    assert!(log.commits.iter().any(|c| c.begun > window.thaw_asked), "nobody wrote after the thaw");
    let differences = compare(log, window, copy);
    assert!(differences.none(), "{what} is not what was promised:\n{differences}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writers::Commit;
    use std::time::Duration;

    #[test]
    fn every_kind_of_difference_is_found() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let commit =
            |sequence, begun, ack| Commit { writer: 0, sequence, begun: at(begun), acknowledged: Some(at(ack)) };
        let log = Log { commits: vec![commit(1, 0, 5), commit(2, 6, 9), commit(3, 12, 15)], errors: Vec::new() };
        let window = Window { frozen: at(10), thaw_asked: at(14) };
        let same = BTreeSet::from([(0, 1), (0, 2)]);
        assert!(compare(&log, window, &same).none());
        let other = compare(&log, window, &BTreeSet::from([(0, 1), (0, 3), (7, 1)]));
        assert_eq!(other.missing, [(0, 2)]);
        assert_eq!(other.extra, [(0, 3)]);
        assert_eq!(other.torn, [(0, 3)]);
        assert_eq!(other.unknown, [(7, 1)]);
        let late = Window { thaw_asked: at(20), ..window };
        assert_eq!(compare(&log, late, &same).moved, [(0, 3)]);
    }
}
