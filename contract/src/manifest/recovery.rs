//! How a snapshot becomes a running database again: recipes that the host prints and never runs.
//!
//! They are signed with everything else, for an administrator will run them as root.

use serde::{Deserialize, Serialize};

use super::{Effect, Manifest, Snapshot};

/// The recipe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// How a time is written in the commands, as `strftime` does, always in UTC. Without: logs cannot be followed to a time.
    pub time: Option<String>,
    /// The coordinate of the recovery point that names the first log which is needed. From it on logs are counted, so that
    /// one which is missing is named: by the decimal number at the end of their names (`binlog.000012`), or as PostgreSQL's
    /// segments (24 digits of `0-9` and `A-F`). Leave it out for logs that are named otherwise: `{logs}` has no value then,
    /// and steps take `{log_folder}`.
    pub first_log: Option<String>,
    /// Whether a snapshot of more than one instant is whole only with its logs: then they are always followed, to the recorded
    /// end at least.
    #[serde(default)]
    pub apart_needs_logs: bool,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it does, and what to look at. `{name}` stands for a value, as in `run`.
    pub say: String,
    /// The command, for a POSIX shell. `{name}` stands for a value of [`NAMES`], quoted by the host.
    pub run: Option<String>,
    /// On which routes; none named: on all.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Only when all of these have a value.
    #[serde(default)]
    pub with: Vec<String>,
    /// Only when none of these has one.
    #[serde(default)]
    pub without: Vec<String>,
}

/// How the snapshot is come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// A machine was made from the snapshot: the data lies where it always did.
    NewMachine,
    /// The snapshot's disks are attached to another machine, and mounted there.
    AttachedDisks,
    /// The same, for single files or tables: through a server that nobody else uses.
    Scratch,
}

impl Route {
    /// All that there are.
    pub const ALL: [Route; 3] = [Route::NewMachine, Route::AttachedDisks, Route::Scratch];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Route::NewMachine => "new-machine",
            Route::AttachedDisks => "attached-disks",
            Route::Scratch => "scratch",
        }
    }
}

/// What a step can name, beside `point.NAME` for a coordinate of the recovery point and `kept.NAME` for what a column with
/// `keep` answered: the cycle's id; the workload's name; the first path of the data and all of them, as they were on the
/// machine; where the snapshot is mounted; where the data is to lie. Where logs are to be followed: the folder that they
/// were copied to; those that are needed, in order; and to where, which is one of the time to stop at, the end of all logs,
/// and the end that was recorded at the thaw (PostgreSQL: of the backup; MySQL: its place in the binary log; Oracle: the
/// archived SCN); where writers stood still, that is the snapshot itself.
pub const NAMES: [&str; 11] =
    ["cycle", "workload", "data", "files", "snapshot", "folder", "log_folder", "logs", "to", "latest", "recorded"];

impl Recovery {
    /// Whether a snapshot of this kind is whole only with its logs.
    pub fn needs_logs(&self, kind: Snapshot) -> bool {
        self.apart_needs_logs && kind != Snapshot::Atomic
    }

    pub(super) fn problems(&self, manifest: &Manifest) -> Vec<String> {
        let mut out = Vec::new();
        if self.steps.is_empty() {
            out.push("[recovery] has no steps".into());
        }
        for (i, step) in self.steps.iter().enumerate() {
            let mut say = |what: String| out.push(format!("[[recovery.steps]] {}: {what}", i + 1));
            for text in std::iter::once(&step.say).chain(&step.run) {
                match pieces(text) {
                    Err(why) => say(why),
                    Ok(pieces) => {
                        for name in pieces.iter().filter_map(Piece::name).filter(|n| !known(manifest, n)) {
                            say(format!("{{{name}}} is nothing that has a value"));
                        }
                    }
                }
            }
            if let Some(run) = &step.run
                && let Ok(pieces) = pieces(run)
                && !stand_outside_of_quotes(&pieces)
            {
                say("a value stands within quotes, after a backslash or in a comment: the host quotes it".into());
            }
            // Who owns it may have put a link there, and root would follow it.
            let into = |after: &str| after.trim_start_matches(['|', ' ', '\t', '"']).starts_with("{folder}");
            if step.run.as_ref().is_some_and(|run| run.split('>').skip(1).any(into)) {
                say("root writes into the database's own folder: write there as its owner, or into $work".into());
            }
            for name in step.with.iter().chain(&step.without).filter(|n| !known(manifest, n)) {
                say(format!("{name} is nothing that has a value"));
            }
        }
        out
    }
}

fn known(manifest: &Manifest, name: &str) -> bool {
    if let Some(kept) = name.strip_prefix("kept.") {
        let kept_by = |s: &super::Statement| s.columns.iter().any(|c| c.keep && c.name == kept);
        return manifest.statements.values().any(|s| s.effect != Effect::Freeze && kept_by(s));
    }
    NAMES.contains(&name) || name.strip_prefix("point.").is_some_and(|n| !n.is_empty())
}

/// A part of a step's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'t> {
    /// As it stands.
    Text(&'t str),
    /// A name for which a value stands.
    Name(&'t str),
}

impl<'t> Piece<'t> {
    fn name(&self) -> Option<&'t str> {
        match self {
            Piece::Name(name) => Some(name),
            Piece::Text(_) => None,
        }
    }
}

/// A step's text, in parts.
///
/// # Errors
/// In words: a brace without its partner, or around what is no name.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, tail) = rest.split_at(at);
        let inner = tail.strip_prefix('{').ok_or("a } without its {")?;
        let (name, after) = inner.split_once('}').ok_or("a { without its }")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ' ');
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!("{{{name}}} is no name: braces stand for values alone"));
        }
        if !before.is_empty() {
            out.push(Piece::Text(before));
        }
        out.push(Piece::Name(name));
        rest = after;
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest));
    }
    Ok(out)
}

/// Whether a shell reads each value as it is quoted by the host.
pub fn stand_outside_of_quotes(pieces: &[Piece<'_>]) -> bool {
    let (mut quote, mut escaped, mut last) = (None, false, ' ');
    for piece in pieces {
        let text = match piece {
            Piece::Text(text) => text,
            Piece::Name(_) if quote.is_some() || escaped => return false,
            Piece::Name(_) => {
                last = 'x';
                continue;
            }
        };
        for c in text.chars() {
            if escaped {
                (escaped, last) = (false, 'x');
                continue;
            }
            match (quote, c) {
                (None | Some('"' | '`'), '\\') => escaped = true,
                (None, '#') if last.is_whitespace() || ";&|()<>".contains(last) => return false,
                // Not every shell reads that as a quote.
                (None, '\'' | '"') if last == '$' => return false,
                (None, '\'' | '"' | '`') => quote = Some(c),
                (Some(open), _) if open == c => quote = None,
                _ => {}
            }
            last = c;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_a_shell_reads_them_as_they_are() {
        for (text, good) in [
            ("cp {data} {folder}", true),
            ("printf 'a = %s' {to} >{folder}/x", true),
            ("x=\"$(stat -c %U {folder})\"", false),
            ("stat '{data}'", false),
            ("echo \\{data}", false),
            ("echo 'it''s' {data}", true),
            ("echo \\' {data}", true),
            ("true # {data}", false),
            ("echo `cat {data}`", false),
            ("echo \\\\'{data}'", false),
            ("echo \\\\ {data}", true),
            ("true &# {data}", false),
            ("echo $'{data}'", false),
            ("echo $'\\'{data}'", false),
        ] {
            assert_eq!(stand_outside_of_quotes(&pieces(text).unwrap()), good, "{text}");
        }
        for text in ["${x}", "a { b", "}", "{}", "{a;b}"] {
            // A name alone is judged by whoever knows which there are.
            assert!(pieces(text).is_err() || text == "${x}", "{text}");
        }
    }
}
