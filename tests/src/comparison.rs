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

/// Asserts that a copy can be recovered to: it holds everything that was acknowledged before `promised`, nothing that was
/// begun after `cut`, and of each writer nothing without what came before it. And that it proves something.
///
/// # Panics
/// When it is not.
pub fn assert_recovered(what: &str, log: &Log, promised: Instant, cut: Instant, copy: &BTreeSet<Row>) {
    assert!(log.errors.is_empty(), "a writer saw errors: {:?}", log.errors);
    let before = log.commits.iter().filter(|c| c.acknowledged.is_some_and(|a| a < promised));
    let missing: Vec<_> = before.clone().filter(|c| !copy.contains(&(c.writer, c.sequence))).collect();
    assert!(missing.is_empty(), "{what} lacks {} acknowledged commits, the first {:?}", missing.len(), missing.first());
    let after = log.commits.iter().filter(|c| c.begun > cut);
    assert!(before.count() > 0 && after.clone().count() > 0, "{what} proves nothing");
    assert!(after.clone().all(|c| !copy.contains(&(c.writer, c.sequence))), "{what} holds what was begun after it");
    let torn = copy.iter().find(|(w, s)| *s > 1 && !copy.contains(&(*w, s - 1)));
    assert_eq!(torn, None, "{what} holds a commit without the one before it");
}

/// The rows that a client printed, a line each.
///
/// # Panics
/// When a line is no row.
pub fn printed_rows<'l>(lines: impl Iterator<Item = &'l str>, separator: char) -> BTreeSet<Row> {
    let row = |line: &str| {
        let (writer, sequence) = line.split_once(separator)?;
        Some((writer.parse().ok()?, sequence.parse().ok()?))
    };
    lines.map(|line| row(line).unwrap_or_else(|| panic!("no row: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writers::Commit;
    use std::time::Duration;

    /// Two commits before 10 ms, and one behind it.
    fn log(at: impl Fn(u64) -> Instant) -> Log {
        let commit =
            |sequence, begun, ack| Commit { writer: 0, sequence, begun: at(begun), acknowledged: Some(at(ack)) };
        Log { commits: vec![commit(1, 0, 5), commit(2, 6, 9), commit(3, 12, 15)], errors: Vec::new() }
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let log = log(at);
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

    #[test]
    fn a_copy_with_a_loss_a_gap_or_too_much_is_not_recovered() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let log = log(at);
        let is = |promised, cut, rows: &[Row]| {
            let copy = rows.iter().copied().collect();
            std::panic::catch_unwind(|| assert_recovered("it", &log, at(promised), at(cut), &copy)).is_ok()
        };
        assert!(is(10, 11, &[(0, 1), (0, 2)]) && is(6, 11, &[(0, 1)]) && is(6, 11, &[(0, 1), (0, 2)]));
        assert!(!is(10, 11, &[(0, 1)]), "a loss");
        assert!(!is(10, 11, &[(0, 1), (0, 2), (0, 3)]), "too much");
        assert!(!is(6, 11, &[(0, 1), (7, 2)]), "a gap");
        assert!(!is(10, 12, &[(0, 1), (0, 2)]) && !is(5, 11, &[]), "nothing before, or nothing after");
    }
}
