//! Whether the records that are kept are the ones that were written: pure functions over their bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::chain::{Head, Line, NOTHING, Walk};
use super::{Removed, What};
use crate::cycle::record::Verdict;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The cycle's id; `None` where it concerns all.
    pub cycle: Option<String>,
    /// The number of the entry, where it is one.
    pub entry: Option<u64>,
    /// What is the matter.
    pub what: String,
}

/// What one file says, and whether it hangs together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    cycle: String,
    entries: u64,
    began_at: String,
    after: Option<String>,
    previous: String,
    /// The hash of its last line.
    last: String,
    ended: bool,
    verdicts: Vec<(String, Verdict)>,
    removed: Vec<Removed>,
    /// The entry whose hash `head` names.
    named: Option<u64>,
    problem: Option<Problem>,
}

impl Summary {
    /// Of the file that bears the name of this cycle.
    pub fn of(cycle: &str, bytes: &[u8], head: Option<&Head>) -> Summary {
        let walk = Walk::of(cycle, bytes);
        let problem = |entry, what: &str| Problem { cycle: Some(cycle.into()), entry, what: what.into() };
        let next = walk.lines.len() as u64 + 1;
        let wrong = match walk.broken {
            Some((entry, what)) => Some(problem(Some(entry), &format!("entry {entry} {what}"))),
            None if walk.whole < bytes.len() => Some(problem(Some(next), &format!("entry {next} is cut in two"))),
            None if walk.lines.is_empty() => Some(problem(None, "the file is empty")),
            None => None,
        };
        let at = head.and_then(|h| walk.hashes.iter().position(|hash| *hash == h.hash));
        let mut out = Summary {
            cycle: cycle.into(),
            entries: walk.lines.len() as u64,
            began_at: walk.lines.first().map(|l| l.at.clone()).unwrap_or_default(),
            after: None,
            previous: walk.lines.first().map(|l| l.previous.clone()).unwrap_or_default(),
            last: walk.hashes.last().cloned().unwrap_or_default(),
            ended: walk.is_ended(),
            verdicts: Vec::new(),
            removed: Vec::new(),
            named: at.map(|n| n as u64 + 1),
            problem: wrong,
        };
        for (Line { what, .. }, hash) in walk.lines.into_iter().zip(walk.hashes) {
            match what {
                What::Begin(begin) => out.after = begin.after,
                What::Retention { removed } => out.removed.extend(removed),
                What::Verdict { verdict, .. } => out.verdicts.push((hash, verdict)),
                _ => {}
            }
        }
        out
    }
}

/// One cycle in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its id.
    pub cycle: String,
    /// When it began.
    pub began_at: String,
    /// How many entries there are.
    pub entries: u64,
    /// The last verdict in it.
    pub verdict: Option<Verdict>,
    /// The hash of its last entry.
    pub head: String,
}

/// Whether what is kept is what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every cycle that hangs together with the newest, which comes first.
    pub cycles: Vec<Checked>,
    /// The cycle to which the head belongs that was asked for.
    pub held: Option<String>,
    /// The cycle that is under way, and has no verdict yet.
    pub under_way: Option<String>,
    /// All that is not as it was written.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Judges all files that are kept together. `asked` is a head that somebody else has held; `under_way` tells whether a cycle
/// is, whose record may end anywhere.
pub fn judge(summaries: Vec<Summary>, head: Option<&Head>, asked: Option<&str>, under_way: bool) -> Report {
    let all: BTreeMap<String, Summary> = summaries.into_iter().map(|s| (s.cycle.clone(), s)).collect();
    let mut report = Report { cycles: Vec::new(), held: None, under_way: None, problems: Vec::new() };
    let removed: BTreeSet<(&str, &str)> =
        all.values().flat_map(|s| &s.removed).map(|r| (r.cycle.as_str(), r.head.as_str())).collect();
    let say = |cycle: &str, entry: Option<u64>, what: String| Problem { cycle: Some(cycle.into()), entry, what };
    let newest = head.map(|h| h.cycle.as_str());

    report.problems.extend(all.values().filter_map(|s| s.problem.clone()));
    report.problems.extend(at_the_head(&all, head));
    let mut gap = false;
    for s in all.values() {
        // Without its first entry nothing is known about what it follows.
        if s.entries == 0 {
            gap = true;
            continue;
        }
        if !s.ended && s.problem.is_none() {
            if under_way && newest == Some(&s.cycle) {
                report.under_way = Some(s.cycle.clone());
            } else {
                let what = "it has no verdict: it was cut off, or its keeper was lost and nobody has ended it yet";
                report.problems.push(say(&s.cycle, Some(s.entries), what.into()));
            }
        }
        match s.after.as_deref() {
            None if s.previous != NOTHING => {
                let what = "it names a head before it, and no cycle".to_owned();
                report.problems.push(say(&s.cycle, Some(1), what));
            }
            None => {}
            Some(before) => match all.get(before) {
                Some(b) if b.last == s.previous => {}
                // What is wrong there is told already.
                Some(b) if b.problem.is_some() => {}
                Some(b) => {
                    let what = format!(
                        "entry {} is not the last, or not the one, after which cycle {} began: it was changed, or what \
                         stood behind it was cut off",
                        b.entries, s.cycle
                    );
                    report.problems.push(say(before, Some(b.entries), what));
                }
                None if removed.contains(&(before, s.previous.as_str())) => {}
                None => {
                    gap = true;
                    let what = format!("its record is gone: cycle {} began after it", s.cycle);
                    report.problems.push(say(before, None, what));
                }
            },
        }
    }

    let mut seen = BTreeSet::new();
    let mut next = newest;
    while let Some(s) = next.and_then(|c| all.get(c)).filter(|s| seen.insert(s.cycle.as_str())) {
        next = s.after.as_deref();
        let verdict = s.verdicts.last().map(|(_, v)| *v);
        let (cycle, began_at, entries, head) = (s.cycle.clone(), s.began_at.clone(), s.entries, s.last.clone());
        if s.verdicts.iter().any(|(hash, _)| asked == Some(hash)) {
            report.held = Some(cycle.clone());
        }
        report.cycles.push(Checked { cycle, began_at, entries, verdict, head });
    }
    if !gap && newest.is_some_and(|c| all.contains_key(c)) {
        let apart = all.keys().filter(|c| !seen.contains(c.as_str()));
        report.problems.extend(apart.map(|c| say(c, None, "its record is not in the chain".into())));
    }
    if asked.is_some() && report.held.is_none() {
        let what = "the record that this head belongs to is not here, or was changed".into();
        report.problems.push(Problem { cycle: None, entry: None, what });
    }
    report
}

/// Whether `head` names the last entry of the newest cycle.
fn at_the_head(all: &BTreeMap<String, Summary>, head: Option<&Head>) -> Option<Problem> {
    let Some(head) = head else {
        let what = "the file head, which names the newest cycle, is gone or broken".into();
        return (!all.is_empty()).then_some(Problem { cycle: None, entry: None, what });
    };
    let say = |entry, what: &str| Some(Problem { cycle: Some(head.cycle.clone()), entry, what: what.into() });
    match all.get(&head.cycle) {
        None => say(None, "its record is gone, and head names it as the newest"),
        Some(s) if s.last == head.hash || s.problem.is_some() => None,
        Some(s) => match s.named {
            // Entries of a cycle under way, or of one that lost its keeper, may be newer than `head`.
            Some(_) if !s.ended => None,
            Some(n) => say(Some(n + 1), "entries stand behind the last one that head names"),
            None => say(
                Some(s.entries),
                "its last entry is not the one that head names: it was changed, or entries were cut off",
            ),
        },
    }
}
