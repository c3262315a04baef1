//! How a snapshot becomes a running database again: the steps of the module that froze it, as they stand in the cycle's
//! record, with every value in its place. They are for people: nothing here is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use stillpoint_contract::manifest::{Piece, Recovery, Route, pieces};

use crate::cycle::record::WorkloadRecord;
use crate::fault::{Exit, Fault, plain};
use crate::log_backup::copy::SUMS;

/// What somebody wants to have back, and where.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The cycle whose snapshot it is.
    pub cycle: String,
    /// Whether it is of more than one instant.
    pub apart: bool,
    /// How the snapshot is come by.
    pub route: Route,
    /// Whether logs are followed, and to where.
    pub to: To,
    /// Where the snapshot is mounted: `/` for a machine that was made from it.
    pub snapshot: PathBuf,
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
        return Err(fault("SP-RECOVERY-003", what).next("take an older cycle:  stillpoint record verify  knows which"));
    }
    let mut wish = wish.clone();
    if wish.apart && recovery.apart_needs_logs && wish.to == To::Snapshot {
        wish.to = To::Recorded;
    }
    let values = values(workload, &wish, recovery)?;
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t' || is_direction(c);
    if let Some((name, _)) = values.iter().find(|(_, v)| v.iter().any(|v| v.contains(odd))) {
        let what = format!("{{{name}}} holds a character that a terminal acts on, so no command is made of it.");
        return Err(fault("SP-RECOVERY-007", what).next("look at the record itself:  --output json  of that cycle"));
    }
    let mut out = Vec::new();
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
        let say = filled(&step.say, &|v| plain(&v.join(", ")))?;
        let quoted = |v: &[String]| v.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(" ");
        let run = step.run.as_ref().map(|run| filled(run, &quoted)).transpose()?;
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
    put("files", workload.data.clone());
    // `//srv` would be the same, and looks like a mistake.
    let root = shown(&wish.snapshot);
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
    if wish.apart && recovery.apart_needs_logs && workload.kept.is_empty() {
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
        let first = workload.point.iter().find(|p| p.name == *first).map(|p| p.value.as_str()).ok_or_else(|| {
            let what = format!("the recovery point has no  {first} , so there is no log to begin with.");
            fault("SP-RECOVERY-005", what).next("see what check said of its logs")
        })?;
        put(
            "logs",
            logs(&folder, first).map_err(|why| {
                fault("SP-RECOVERY-006", format!("{why}."))
                    .next("run  stillpoint log-backup  if the database still runs")
            })?,
        );
    }
    match (wish.to, &recovery.time) {
        (To::Time(to), Some(format)) => put("to", vec![to.strftime(format).to_string()]),
        (To::Time(_), None) => {
            return Err(fault("SP-RECOVERY-003", "its logs cannot be followed to a time.".into()).next("--to latest"));
        }
        (To::Latest, _) => put("latest", vec!["latest".into()]),
        (To::Recorded, _) => put("recorded", vec!["recorded".into()]),
        (To::Snapshot, _) => {}
    }
    Ok(out)
}

/// Turns the direction of what follows on a terminal.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The logs from this one on, in the order of their names.
fn logs(folder: &Path, first: &str) -> Result<Vec<String>, String> {
    let read =
        std::fs::read_dir(folder).map_err(|e| format!("the logs in {} cannot be read: {e}", folder.display()))?;
    let mut names: Vec<String> = read.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    // What begins with a dot is being copied.
    names.retain(|n| !n.starts_with('.') && n != SUMS);
    let (stem, number) = numbered(first);
    let mut names: Vec<(u64, String)> = names
        .into_iter()
        .map(|n| (numbered(&n), n))
        .filter(|((s, n), _)| *s == stem && *n >= number)
        .map(|((_, n), name)| (n, name))
        .collect();
    names.sort();
    for (expected, (found, _)) in
        (number..).zip(&names).chain(names.is_empty().then_some((number, &(number + 1, String::new()))))
    {
        if *found != expected {
            let gap = if expected == number { first.to_owned() } else { format!("number {expected} of {stem}") };
            return Err(format!(
                "the log {gap}, without which those after it are of no use, is not in {}",
                folder.display()
            ));
        }
    }
    let names = names.into_iter().map(|(_, name)| name);
    Ok(names.map(|n| folder.join(n).display().to_string()).collect())
}

/// A log's name before its number, and the number.
fn numbered(name: &str) -> (String, u64) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), name.get(stem.len()..).unwrap_or_default().parse().unwrap_or_default())
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
    use super::quoted;

    #[test]
    fn a_shell_reads_every_value_as_it_is() {
        for value in ["/srv/db", "", "a b", "it's", "$(id)", "`id`", "a\nb\n", "\\", "\"", "!x", "~", "*"] {
            let out = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(value))]).output();
            assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), value);
        }
    }
}
