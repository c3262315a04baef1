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
//! | `SP-RECOVERY-009` | one folder for several workloads |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::Serialize;
use stillpoint_contract::manifest::{Piece, Recovery, Route, Snapshot, is_hidden, pieces, stand_outside_of_quotes};

use crate::cycle::record::WorkloadRecord;
use crate::fault::{Exit, Fault};
use crate::log_backup::copy::SUMS;
use crate::log_backup::numbered;
use crate::sys::disk::is_plain;

/// The most that is read of a history, in bytes.
const LARGEST_HISTORY: u64 = 64 * 1024;

/// What a step can name, and what it stands for.
type Values = BTreeMap<String, Vec<String>>;

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
    /// To the end that was recorded at the thaw (PostgreSQL: of the backup; MySQL: its place in the binary log; Oracle: the
    /// archived SCN); where writers stood still, the snapshot itself.
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

/// Whether a module's steps follow logs at all. Where they do not, they lead to the snapshot itself, and no further.
pub fn follows_logs(recovery: &Recovery) -> bool {
    let with = |name: &str| matches!(name, "logs" | "log_folder" | "latest" | "to");
    let within = |piece: &Piece<'_>| matches!(piece, Piece::Name("logs" | "log_folder" | "to"));
    recovery.steps.iter().any(|step| {
        step.with.iter().any(|name| with(name))
            || step.run.as_ref().is_some_and(|run| pieces(run).is_ok_and(|pieces| pieces.iter().any(within)))
    })
}

/// Whether there is an end beyond the snapshot that was recorded.
fn has_a_recorded_end(workload: &WorkloadRecord, recovery: &Recovery) -> bool {
    let kept = |name: &str| workload.kept.iter().any(|kept| kept.name == name && !kept.value.is_empty());
    recovery.steps.iter().any(|step| {
        let mut named = step.with.iter().filter_map(|name| name.strip_prefix("kept."));
        step.with.iter().any(|name| name == "recorded") && named.all(kept)
    })
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
    if !follows_logs(recovery) || (wish.to == To::Recorded && !has_a_recorded_end(workload, recovery)) {
        wish.to = To::Snapshot;
    }
    let needs_logs = wish.kind.is_some_and(|kind| recovery.needs_logs(kind));
    if needs_logs && wish.to == To::Snapshot {
        wish.to = To::Recorded;
    }
    let mut values = values(workload, &wish)?;
    let missing = match wish.to {
        To::Snapshot => None,
        _ => put_logs(&mut values, workload, &wish, recovery)?,
    };
    let mut out = Vec::new();
    if matches!(wish.to, To::Time(_) | To::Latest)
        && let Some(newest) = values.get("logs").and_then(|logs| logs.last())
    {
        let at = copied_at(newest).map_or_else(String::new, |at| format!(", which was copied at {at}"));
        let beyond = match missing {
            None => "what is later cannot be had.".to_owned(),
            Some(log) => format!("the next one, {log}, is missing, so nothing after that can be had."),
        };
        out.push(Step { say: format!("The logs end with {newest}{at}: {beyond}"), run: None });
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

/// Everything that a step can name without following logs.
fn values(workload: &WorkloadRecord, wish: &Wish) -> Result<Values, Fault> {
    let shown = |path: &Path| path.display().to_string();
    let mut out = Values::new();
    let mut put = |name: &str, value: Vec<String>| drop(out.insert(name.into(), value));
    put("cycle", vec![wish.cycle.clone()]);
    put("workload", vec![workload.name.clone()]);
    // The database said so, and may be anybody's by now.
    if let Some(odd) = workload.data.iter().find(|path| !is_plain(Path::new(path))) {
        let what = format!("its data lies in a path that leads elsewhere: {odd}");
        return Err(Fault::new("SP-RECOVERY-007", Exit::Usage, what)
            .of(&workload.name)
            .next("see whether that server is still yours"));
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
    Ok(out)
}

/// What it can name beside that where logs are followed. Gives the log that is missing after those, where they are enough.
fn put_logs(
    out: &mut Values,
    workload: &WorkloadRecord,
    wish: &Wish,
    recovery: &Recovery,
) -> Result<Option<String>, Fault> {
    let fault = |id: &str, what: String| Fault::new(id, Exit::Usage, what).of(&workload.name);
    let mut put = |name: &str, value: Vec<String>| drop(out.insert(name.into(), value));
    if wish.kind.is_some_and(|kind| recovery.needs_logs(kind)) && workload.kept.is_empty() {
        let what = "the copy is of more than one instant, and what makes it whole is not in the record.".into();
        return Err(fault("SP-RECOVERY-005", what).next("take another cycle's"));
    }
    let folder = wish.logs.clone().or_else(|| workload.log_folder.as_ref().map(PathBuf::from));
    let folder = folder.ok_or_else(|| {
        fault("SP-RECOVERY-006", "nobody knows where its logs were copied to.".into())
            .next("name the folder:  --logs DIR")
    })?;
    put("log_folder", vec![folder.display().to_string()]);
    let mut missing = None;
    if let Some(first) = &recovery.first_log {
        let named = workload.point.iter().find(|p| p.name == *first).map(|p| p.value.as_str());
        let needed = recovery.steps.iter().any(|s| s.with.iter().any(|n| n == "logs"));
        match named {
            Some(first) => {
                let found = those_needed(&folder, first, wish.to).map_err(|fault| fault.of(&workload.name))?;
                put("logs", found.logs);
                missing = found.missing;
            }
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
    Ok(missing)
}

/// The logs that lead from this one to there. They may end with a gap where what is wanted may lie before it.
fn those_needed(folder: &Path, first: &str, to: To) -> Result<Found, Fault> {
    let fault = |what: String| Fault::new("SP-RECOVERY-006", Exit::Usage, what);
    let found = logs(folder, first, to != To::Recorded)
        .map_err(|why| fault(format!("{why}.")).next("run  stillpoint log-backup  if the database still runs"))?;
    let enough = to != To::Latest && !found.logs.is_empty();
    match &found.missing {
        Some(log) if !enough => {
            let folder = folder.display();
            let what = format!("the log {log}, without which those after it are of no use, is not in {folder}.");
            let mut next = "run  stillpoint log-backup  if the database still has it".to_owned();
            if let Some(last) = found.logs.last() {
                let at = copied_at(last).map_or_else(String::new, |at| format!(", copied at {at}"));
                next += &format!("; or follow them to a time before the end of {last}{at}:  --to TIME");
            }
            Err(fault(what).next(next))
        }
        _ => Ok(found),
    }
}

/// When a log was copied, for people.
fn copied_at(log: &str) -> Option<String> {
    let at = std::fs::symlink_metadata(log).and_then(|m| m.modified()).ok()?;
    Some(Timestamp::try_from(at).ok()?.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// The logs that are there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Those that follow one another, in order.
    logs: Vec<String>,
    /// The one after them, where it is not there and others are needed.
    missing: Option<String>,
}

/// The logs from this one on, in the order of their names, up to the first gap; also those of later histories.
fn logs(folder: &Path, first: &str, later: bool) -> Result<Found, String> {
    let read =
        std::fs::read_dir(folder).map_err(|e| format!("the logs in {} cannot be read: {e}", folder.display()))?;
    let mut names: Vec<String> = read.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    // What begins with a dot is being copied.
    names.retain(|n| !n.starts_with('.') && n != SUMS);
    let count = Count::of(first, folder);
    let (stem, number) = count.place(first);
    let here = |name: &String| match count.place(name) {
        (s, n) if s == stem && n >= number => Some((n, name.clone())),
        _ => None,
    };
    let (logs, missing) = unbroken(number, names.iter().filter_map(here).collect());
    let mut out = Found { logs, missing: missing.map(|number| count.name(&stem, number, first)) };
    if later && out.missing.is_none() && matches!(count, Count::Segments(_)) {
        let beyond = later_timelines(&count, &stem, names, folder);
        out.logs.extend(beyond.logs);
        out.missing = beyond.missing;
    }
    for log in &mut out.logs {
        *log = folder.join(&*log).display().to_string();
    }
    Ok(out)
}

/// Those that follow one another from this number on; and the first that is not there, where others are or none is.
fn unbroken(from: u64, mut names: Vec<(u64, String)>) -> (Vec<String>, Option<u64>) {
    names.sort();
    let (mut out, mut next) = (Vec::new(), Some(from));
    for (number, name) in names {
        if next != Some(number) {
            return (out, next);
        }
        out.push(name);
        next = number.checked_add(1);
    }
    let missing = out.is_empty().then_some(from);
    (out, missing)
}

/// What a server wrote that was recovered from this one: it begins where its history says that it left the other.
fn later_timelines(count: &Count, stem: &str, all: Vec<String>, folder: &Path) -> Found {
    let mut timelines: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for name in all.into_iter().filter(|name| is_segment(name)) {
        let (timeline, number) = count.place(&name);
        if timeline.as_str() > stem {
            timelines.entry(timeline).or_default().push((number, name));
        }
    }
    let mut out = Found::default();
    for (timeline, names) in timelines {
        let history = format!("{timeline}.history");
        let Ok(text) = read_history(&folder.join(&history)) else {
            out.missing = Some(history);
            break;
        };
        let begins = text.lines().rev().find_map(|line| count.segment_of(line.split('\t').nth(1)?));
        let begins = begins.or(names.iter().map(|(number, _)| *number).min()).unwrap_or_default();
        let (logs, missing) = unbroken(begins, names);
        out.logs.extend(logs);
        if let Some(number) = missing {
            out.missing = Some(count.name(&timeline, number, ""));
            break;
        }
    }
    out
}

/// The database's own user can write where it lies, so it may be anything.
fn read_history(path: &Path) -> io::Result<String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > LARGEST_HISTORY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_HISTORY).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
            Count::Segments(each) if is_segment(name) => {
                (name.chars().take(8).collect(), hex(8).saturating_mul(*each).saturating_add(hex(16)))
            }
            Count::Segments(_) => (name.to_owned(), 0),
        }
    }

    /// In which segment a place such as `0/A000028` lies.
    fn segment_of(&self, place: &str) -> Option<u64> {
        let Count::Segments(each) = self else { return None };
        let (high, low) = place.trim().split_once('/')?;
        let part = |text: &str| u32::from_str_radix(text, 16).ok().map(u64::from);
        let (high, low) = (part(high)?, part(low)?);
        high.checked_mul(*each)?.checked_add(low / ((1_u64 << 32) / *each))
    }

    fn name(&self, stem: &str, number: u64, first: &str) -> String {
        match self {
            _ if !first.is_empty() && self.place(first).1 == number => first.to_owned(),
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
    use std::path::Path;

    use serde_json::json;

    use super::{Found, Recovery, follows_logs, logs, quoted};

    #[test]
    fn a_shell_reads_every_value_as_it_is() {
        for value in ["/srv/db", "", "a b", "it's", "$(id)", "`id`", "a\nb\n", "\\", "\"", "!x", "~", "*"] {
            let out = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(value))]).output();
            assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), value);
        }
    }

    #[test]
    fn a_module_without_steps_for_logs_follows_none() {
        let step = |step: serde_json::Value| {
            follows_logs(&serde_json::from_value::<Recovery>(json!({ "steps": [step] })).unwrap())
        };
        assert!(!step(json!({ "say": "{data}", "run": "cp {data} {folder}", "with": ["point.appended bytes"] })));
        assert!(!step(json!({ "say": "", "with": ["kept.scn"], "without": ["log_folder"] })));
        assert!(step(json!({ "say": "", "run": "ls {log_folder}" })));
        assert!(step(json!({ "say": "", "with": ["point.file", "latest"] })));
    }

    /// In a folder that has these files, and what this makes in it: how many follow one another, and what is missing then.
    fn found(names: &[&str], first: &str, make: impl Fn(&Path)) -> (usize, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        names.iter().for_each(|n| std::fs::write(folder.path().join(n), "").unwrap());
        make(folder.path());
        let Found { logs, missing } = logs(folder.path(), first, true).unwrap();
        assert!(logs.iter().all(|log| Path::new(log).starts_with(folder.path())), "{logs:?}");
        (logs.len(), missing)
    }

    #[test]
    fn a_log_that_is_missing_among_others_is_named() {
        let all = |names: &[&str], first: &str| found(names, first, |_| {});
        let gap = |after: usize, log: &str| (after, Some(log.to_owned()));
        assert_eq!(all(&["b.000009", "b.000010", "b.000011", "SHA256SUMS", "c.000001"], "b.000010"), (2, None));
        assert_eq!(all(&["b.000009"], "b.000010"), gap(0, "b.000010"));
        assert_eq!(all(&["b.000010", "b.000012"], "b.000010"), gap(1, "number 11 of b."));
        let last = "b.18446744073709551615";
        assert_eq!(all(&[last], last), (1, None));
        let (a, b, c) = ("0000000100000000000000FE", "0000000100000000000000FF", "000000010000000100000000");
        let others = ["00000002.history", "000000020000000100000000", "0000000100000000000000FE.00000028.backup"];
        assert_eq!(all(&[&[a, b, c], &others[..]].concat(), a), (4, None));
        let history = "# comment\n1\t0/FF000028\tno recovery target specified\n";
        let later = |names: &[&str]| {
            found(&[&[a, b], names].concat(), a, |folder| {
                std::fs::write(folder.join("00000002.history"), history).unwrap();
            })
        };
        let (d, e) = ("0000000200000000000000FF", "000000020000000100000000");
        assert_eq!(later(&[d, e]), (4, None));
        assert_eq!(later(&[e]), gap(2, d));
        assert_eq!(all(&[a, b, d, e], a), gap(2, "00000002.history"));
        assert_eq!(all(&[a, c], a), gap(1, b));
        assert_eq!(all(&[b, c], a), gap(0, a));
    }

    /// Who may write there may put anything there.
    #[test]
    fn a_history_that_is_none_is_not_read() {
        let names = ["0000000100000000000000FE", "0000000100000000000000FF", "0000000200000000000000FF"];
        let with = |make: &dyn Fn(&Path)| found(&names, names[0], |folder| make(&folder.join("00000002.history")));
        let text = "1\t0/FF000028\n";
        let missing = (2, Some("00000002.history".to_owned()));
        assert_eq!(with(&|at: &Path| std::fs::write(at, text).unwrap()), (3, None));
        assert_eq!(with(&|at: &Path| nix::unistd::mkfifo(at, nix::sys::stat::Mode::S_IRWXU).unwrap()), missing);
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(elsewhere.path(), text).unwrap();
        assert_eq!(with(&|at: &Path| std::os::unix::fs::symlink(elsewhere.path(), at).unwrap()), missing);
        assert_eq!(with(&|at: &Path| std::os::unix::fs::symlink("/dev/zero", at).unwrap()), missing);
        assert_eq!(with(&|at: &Path| std::fs::write(at, text.repeat(10_000)).unwrap()), missing);
        // A place that is none: its first log is taken for the one that it began with.
        for place in ["FFFFFFFFFFFFFFFF/0", "0/FFFFFFFFFFFFFFFF", "/", "x/y"] {
            assert_eq!(with(&|at: &Path| std::fs::write(at, format!("1\t{place}\n")).unwrap()), (3, None), "{place}");
        }
        let far = (2, Some("00000002FFFFFFFF000000FF".to_owned()));
        assert_eq!(with(&|at: &Path| std::fs::write(at, "1\tFFFFFFFF/FFFFFFFF\n").unwrap()), far);
    }
}
