//! How a snapshot becomes a running database again: the steps of the module that froze it, as they stand in the cycle's
//! record, with every value in its place. They are for people: nothing here is run.
//!
//! | id | what |
//! |---|---|
//! | `SP-RECOVERY-001` | there is no record of such a cycle |
//! | `SP-RECOVERY-002` | the module does not say how to recover |
//! | `SP-RECOVERY-003` | logs do not lead to that time |
//! | `SP-RECOVERY-004` | a step is broken |
//! | `SP-RECOVERY-005` | the record lacks what a step needs |
//! | `SP-RECOVERY-006` | the logs are not there |
//! | `SP-RECOVERY-007` | a command would hold what is not seen, or a path that leads elsewhere |
//! | `SP-RECOVERY-008` | the cycle has no such workload, or none at all |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use stillpoint_contract::manifest::{Piece, Recovery, Route, Snapshot, is_hidden, pieces, stand_outside_of_quotes};

use crate::cycle::record::WorkloadRecord;
use crate::fault::{Exit, Fault};
use crate::log_backup::copy::SUMS;
use crate::log_backup::numbered;
use crate::sys::disk::is_plain;

/// What somebody wants to have back, and where.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The cycle whose snapshot it is.
    pub cycle: String,
    /// Of which kind it is. `None`: nobody knows.
    pub kind: Option<Snapshot>,
    /// How the snapshot is come by.
    pub route: Route,
    /// Whether logs are followed, and to where.
    pub to: To,
    /// Where it is mounted: `/` for a machine that was made from it.
    pub mounted: PathBuf,
    /// Where the data is to lie. `None`: where it lay.
    pub folder: Option<PathBuf>,
    /// The folder of the logs. `None`: the one in the record.
    pub logs: Option<PathBuf>,
}

/// To where logs are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Nowhere: the snapshot is all that is wanted.
    Snapshot,
    /// To this time.
    Time(Timestamp),
    /// To their end.
    Latest,
    /// To the recovery point of the record.
    Recorded,
}

/// One step, to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it does.
    pub say: String,
    /// The command, for a POSIX shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// The steps for one workload.
///
/// # Errors
/// `SP-RECOVERY-…`: why there are none.
pub fn steps(workload: &WorkloadRecord, wish: &Wish, frozen_at: Option<Timestamp>) -> Result<Vec<Step>, Fault> {
    let name = &workload.name;
    let fault = |id: &str, what: String| Fault::new(id, Exit::Usage, what).of(name);
    let Some(recovery) = &workload.recovery else {
        let what = format!("the module {} does not say how to recover.", workload.module);
        return Err(fault("SP-RECOVERY-002", what).next("see its README"));
    };
    if let (To::Time(to), Some(frozen)) = (wish.to, frozen_at)
        && to < frozen
    {
        let what = format!("the snapshot is of {frozen}, which is after {to}: logs lead forward only.");
        return Err(fault("SP-RECOVERY-003", what).next("take an older cycle: see  stillpoint record list"));
    }
    let mut wish = wish.clone();
    let needs_logs = wish.kind.is_some_and(|kind| recovery.needs_logs(kind));
    if needs_logs && wish.to == To::Snapshot {
        wish.to = To::Recorded;
    }
    let values = values(workload, &wish, recovery)?;
    let mut out = Vec::new();
    if matches!(wish.to, To::Time(_) | To::Latest)
        && let Some(newest) = values.get("logs").and_then(|logs| logs.last())
    {
        let at = std::fs::metadata(newest).and_then(|m| m.modified()).ok().and_then(|t| Timestamp::try_from(t).ok());
        let at =
            at.map_or_else(String::new, |at| format!(", which was copied at {}", at.strftime("%Y-%m-%d %H:%M:%S UTC")));
        out.push(Step { say: format!("The logs end with {newest}{at}: what is later cannot be had."), run: None });
    }
    for step in &recovery.steps {
        let here = step.routes.is_empty() || step.routes.contains(&wish.route);
        let has = |n: &String| values.get(n.as_str()).is_some_and(|v| !v.iter().all(String::is_empty));
        if !here || !step.with.iter().all(has) || step.without.iter().any(has) {
            continue;
        }
        let filled = |text: &str, value: &dyn Fn(&[String]) -> String| {
            let mut out = String::new();
            for piece in pieces(text).map_err(|why| fault("SP-RECOVERY-004", format!("a step is broken: {why}.")))? {
                match piece {
                    Piece::Text(text) => out += text,
                    Piece::Name(n) => match values.get(n) {
                        Some(v) => out += &value(v),
                        None => {
                            let what = format!("the record of this cycle does not have {{{n}}}, which a step needs.");
                            return Err(fault("SP-RECOVERY-005", what).next("see the module's README"));
                        }
                    },
                }
            }
            Ok(out)
        };
        let say = filled(&step.say, &|v| v.join(", "))?;
        // It was refused in a manifest; a record may be anybody's.
        if let Some(run) = &step.run
            && !pieces(run).is_ok_and(|pieces| stand_outside_of_quotes(&pieces))
        {
            return Err(fault(
                "SP-RECOVERY-004",
                "a step places a value where a shell would read it otherwise.".into(),
            ));
        }
        let quoted = |v: &[String]| v.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(" ");
        let run = step.run.as_ref().map(|run| filled(run, &quoted)).transpose()?;
        if run.as_ref().is_some_and(|run| run.contains(|c| is_hidden(c) && c != '\n' && c != '\t')) {
            let what = "a command would hold characters that are not seen, so it is not printed.".into();
            return Err(fault("SP-RECOVERY-007", what).next("look at the record itself:  --output json  of that cycle"));
        }
        out.push(Step { say, run });
    }
    Ok(out)
}

/// Everything that a step can name.
fn values(workload: &WorkloadRecord, wish: &Wish, recovery: &Recovery) -> Result<BTreeMap<String, Vec<String>>, Fault> {
    let fault = |id: &str, what: String| Fault::new(id, Exit::Usage, what).of(&workload.name);
    let shown = |path: &Path| path.display().to_string();
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut put = |name: &str, value: Vec<String>| drop(out.insert(name.into(), value));
    put("cycle", vec![wish.cycle.clone()]);
    put("workload", vec![workload.name.clone()]);
    // The database said so, and may be anybody's by now.
    if let Some(odd) = workload.data.iter().find(|path| !is_plain(Path::new(path))) {
        let what = format!("its data lies in a path that leads elsewhere: {odd}");
        return Err(fault("SP-RECOVERY-007", what).next("see whether that server is still yours"));
    }
    put("files", workload.data.clone());
    // `//srv` would be the same, and looks like a mistake.
    let root = shown(&wish.mounted);
    put("snapshot", vec![root.trim_end_matches('/').to_owned()]);
    if let Some(data) = workload.data.first() {
        let data = if data.len() > 1 { data.trim_end_matches('/') } else { data };
        put("data", vec![data.to_owned()]);
        put("folder", vec![wish.folder.as_deref().map_or_else(|| data.to_owned(), shown)]);
    }
    for point in &workload.point {
        put(&format!("point.{}", point.name), vec![point.value.clone()]);
    }
    for kept in &workload.kept {
        put(&format!("kept.{}", kept.name), vec![kept.value.clone()]);
    }
    if wish.to == To::Snapshot {
        return Ok(out);
    }
    if wish.kind.is_some_and(|kind| recovery.needs_logs(kind)) && workload.kept.is_empty() {
        let what = "the copy is of more than one instant, and what makes it whole is not in the record.".into();
        return Err(fault("SP-RECOVERY-005", what).next("take another cycle's"));
    }
    let folder = wish.logs.clone().or_else(|| workload.log_folder.as_ref().map(PathBuf::from));
    let folder = folder.ok_or_else(|| {
        fault("SP-RECOVERY-006", "nobody knows where its logs were copied to.".into())
            .next("name the folder:  --logs DIR")
    })?;
    put("log_folder", vec![shown(&folder)]);
    if let Some(first) = &recovery.first_log {
        let named = workload.point.iter().find(|p| p.name == *first).map(|p| p.value.as_str());
        let needed = recovery.steps.iter().any(|s| s.with.iter().any(|n| n == "logs"));
        match named {
            Some(first) => put(
                "logs",
                logs(&folder, first, wish.to != To::Recorded).map_err(|why| {
                    fault("SP-RECOVERY-006", format!("{why}."))
                        .next("run  stillpoint log-backup  if the database still runs")
                })?,
            ),
            None if needed => {
                let what = format!("the recovery point has no  {first} , so there is no log to begin with.");
                return Err(fault("SP-RECOVERY-005", what).next("see what check said of its logs"));
            }
            // The database itself takes what it needs.
            None => {}
        }
    }
    match (wish.to, &recovery.time) {
        (To::Time(to), Some(format)) => {
            let to = jiff::fmt::strtime::format(format, to)
                .map_err(|e| fault("SP-RECOVERY-004", format!("the module's way to write a time is broken: {e}.")))?;
            put("to", vec![to]);
        }
        (To::Time(_), None) => {
            return Err(fault("SP-RECOVERY-003", "its logs cannot be followed to a time.".into()).next("--to latest"));
        }
        (To::Latest, _) => put("latest", vec!["latest".into()]),
        (To::Recorded, _) => put("recorded", vec!["recorded".into()]),
        (To::Snapshot, _) => {}
    }
    Ok(out)
}

/// The logs from this one on, in the order of their names; also those of later histories.
fn logs(folder: &Path, first: &str, later: bool) -> Result<Vec<String>, String> {
    let read =
        std::fs::read_dir(folder).map_err(|e| format!("the logs in {} cannot be read: {e}", folder.display()))?;
    let mut names: Vec<String> = read.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    // What begins with a dot is being copied.
    names.retain(|n| !n.starts_with('.') && n != SUMS);
    let count = Count::of(first, folder);
    let (stem, number) = count.place(first);
    let here = |name: String| match count.place(&name) {
        (s, n) if s == stem && n >= number => Some((n, name)),
        _ => None,
    };
    let all = names.clone();
    let mut names: Vec<(u64, String)> = names.into_iter().filter_map(here).collect();
    names.sort();
    let gap = |log: String| {
        format!("the log {log}, without which those after it are of no use, is not in {}", folder.display())
    };
    if let Some(missing) = missing(number, &names) {
        return Err(gap(count.name(&stem, missing, first)));
    }
    let mut out: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
    if later && matches!(count, Count::Segments(_)) {
        out.extend(later_timelines(&count, &stem, all, folder, &gap)?);
    }
    Ok(out.into_iter().map(|name| folder.join(name).display().to_string()).collect())
}

/// The first number from this one on that is not there.
fn missing(from: u64, names: &[(u64, String)]) -> Option<u64> {
    match names.is_empty() {
        true => Some(from),
        false => (from..).zip(names).find(|(wanted, (found, _))| wanted != found).map(|(wanted, _)| wanted),
    }
}

/// What a server wrote that was recovered from this one: it begins where its history says that it left the other.
fn later_timelines(
    count: &Count,
    stem: &str,
    all: Vec<String>,
    folder: &Path,
    gap: &impl Fn(String) -> String,
) -> Result<Vec<String>, String> {
    let mut timelines: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for name in all.into_iter().filter(|name| is_segment(name)) {
        let (timeline, number) = count.place(&name);
        if timeline.as_str() > stem {
            timelines.entry(timeline).or_default().push((number, name));
        }
    }
    let mut out = Vec::new();
    for (timeline, mut names) in timelines {
        names.sort();
        let history = format!("{timeline}.history");
        let text = std::fs::read_to_string(folder.join(&history)).map_err(|_| gap(history))?;
        let begins = text.lines().rev().find_map(|line| count.segment_of(line.split('\t').nth(1)?));
        let begins = begins.or(names.first().map(|(number, _)| *number)).unwrap_or_default();
        if let Some(missing) = missing(begins, &names) {
            return Err(gap(count.name(&timeline, missing, "")));
        }
        out.extend(names.into_iter().map(|(_, name)| name));
    }
    Ok(out)
}

/// How logs are counted by their names.
enum Count {
    /// By a decimal number at the end.
    Decimal,
    /// As PostgreSQL's: eight hexadecimal digits each for the timeline, for each four gigabytes, and for a segment of
    /// those, of which there are so many.
    Segments(u64),
}

impl Count {
    fn of(first: &str, folder: &Path) -> Count {
        if !is_segment(first) {
            return Count::Decimal;
        }
        let size = std::fs::metadata(folder.join(first)).map_or(0, |m| m.len());
        // Between one megabyte and one gigabyte; sixteen megabytes where nobody said otherwise.
        Count::Segments((1_u64 << 32) / if (1 << 20..=1 << 30).contains(&size) { size } else { 16 << 20 })
    }

    /// What is the same in all names of a series, and the number.
    fn place(&self, name: &str) -> (String, u64) {
        let hex =
            |from: usize| u64::from_str_radix(name.get(from..from + 8).unwrap_or_default(), 16).unwrap_or_default();
        match self {
            Count::Decimal => {
                let (stem, number) = numbered(name);
                (stem.to_owned(), number)
            }
            Count::Segments(each) if is_segment(name) => (name.chars().take(8).collect(), hex(8) * each + hex(16)),
            Count::Segments(_) => (name.to_owned(), 0),
        }
    }

    /// In which segment a place such as `0/A000028` lies.
    fn segment_of(&self, place: &str) -> Option<u64> {
        let Count::Segments(each) = self else { return None };
        let (high, low) = place.trim().split_once('/')?;
        let (high, low) = (u64::from_str_radix(high, 16).ok()?, u64::from_str_radix(low, 16).ok()?);
        Some(high * each + low / ((1 << 32) / each))
    }

    fn name(&self, stem: &str, number: u64, first: &str) -> String {
        match self {
            _ if self.place(first).1 == number => first.to_owned(),
            Count::Decimal => format!("number {number} of {stem}"),
            Count::Segments(each) => format!("{stem}{:08X}{:08X}", number / each, number % each),
        }
    }
}

fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

/// As a POSIX shell reads it back, bare where that is certain.
fn quoted(value: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "/._-:,+@%".contains(c);
    if !value.is_empty() && value.chars().all(bare) {
        value.into()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{logs, quoted};

    #[test]
    fn a_shell_reads_every_value_as_it_is() {
        for value in ["/srv/db", "", "a b", "it's", "$(id)", "`id`", "a\nb\n", "\\", "\"", "!x", "~", "*"] {
            let out = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(value))]).output();
            assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), value);
        }
    }

    #[test]
    fn a_log_that_is_missing_among_others_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let all = |names: &[&str], first: &str| {
            std::fs::read_dir(folder.path()).unwrap().for_each(|e| std::fs::remove_file(e.unwrap().path()).unwrap());
            names.iter().for_each(|n| std::fs::write(folder.path().join(n), "").unwrap());
            logs(folder.path(), first, true).map(|l| l.len())
        };
        let missing = |log: &str| {
            Err(format!(
                "the log {log}, without which those after it are of no use, is not in {}",
                folder.path().display()
            ))
        };
        assert_eq!(all(&["b.000009", "b.000010", "b.000011", "SHA256SUMS", "c.000001"], "b.000010"), Ok(2));
        assert_eq!(all(&["b.000009"], "b.000010"), missing("b.000010"));
        assert_eq!(all(&["b.000010", "b.000012"], "b.000010"), missing("number 11 of b."));
        let (a, b, c) = ("0000000100000000000000FE", "0000000100000000000000FF", "000000010000000100000000");
        let others = ["00000002.history", "000000020000000100000000", "0000000100000000000000FE.00000028.backup"];
        assert_eq!(all(&[&[a, b, c], &others[..]].concat(), a), Ok(4));
        let later = |names: &[&str]| {
            all(&[&[a, b], names].concat(), a).ok();
            let history = folder.path().join("00000002.history");
            std::fs::write(&history, "# comment\n1\t0/FF000028\tno recovery target specified\n").unwrap();
            logs(folder.path(), a, true).map(|l| l.len())
        };
        let (d, e) = ("0000000200000000000000FF", "000000020000000100000000");
        assert_eq!(later(&[d, e]), Ok(4));
        assert_eq!(later(&[e]), missing(d));
        assert_eq!(all(&[a, b, d, e], a), missing("00000002.history"));
        assert_eq!(all(&[a, c], a), missing(b));
        assert_eq!(all(&[b, c], a), missing(a));
    }
}
