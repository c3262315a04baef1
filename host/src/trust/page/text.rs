//! The page for a terminal: letters of ASCII and what the manifest holds, 110 columns, nothing that draws.

use stillpoint_contract::manifest::{Effect, Mode};

use super::{
    Believed, Page, Statement, checked_word, lasts_word, limits_words, needed_words, rows_word, snapshot_word,
    stops_word,
};
use crate::fault::plain;
use crate::trust::finding::Severity;

const WIDTH: usize = 110;
/// Where values begin.
const VALUE: usize = 14;

/// Lines under way.
struct Sheet(String);

impl Sheet {
    fn line(&mut self, text: &str) {
        self.0.push_str(text.trim_end());
        self.0.push('\n');
    }

    /// `label     value`, the value wrapped beside the label. The label is shown once.
    fn field(&mut self, indent: usize, label: &str, value: &str) {
        let width = VALUE.max(label.len() + 2);
        let mut label = format!("{:indent$}{label:<width$}", "");
        for line in wrapped(value, WIDTH - indent - width) {
            self.line(&format!("{label}{line}"));
            label = " ".repeat(indent + width);
        }
    }

    fn fields<S: AsRef<str>>(&mut self, label: &str, values: impl IntoIterator<Item = S>) {
        let mut label = label;
        for value in values {
            self.field(2, label, value.as_ref());
            label = "";
        }
    }

    fn part(&mut self, title: &str) {
        self.line("");
        self.line(title);
    }
}

/// Lines of at most so many letters: nothing is left out, and what has no space is broken where it must be.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let text = plain(text);
    let mut out = Vec::new();
    let mut line = String::new();
    let mut count = 0;
    for word in text.split_inclusive(' ') {
        let bare = word.trim_end_matches(' ').chars().count();
        if count + bare > width && count > 0 {
            out.push(std::mem::take(&mut line));
            count = 0;
        }
        for c in word.chars() {
            if count == width && c != ' ' {
                out.push(std::mem::take(&mut line));
                count = 0;
            }
            line.push(c);
            count += 1;
        }
    }
    out.push(line);
    out
}

/// The page.
pub fn text(page: &Page) -> String {
    let mut out = Sheet(String::new());
    out.line(&plain(&format!("{} {} (sequence {})", page.name, page.version, page.sequence)));
    for line in wrapped(&page.summary, WIDTH) {
        out.line(&line);
    }
    out.line("");
    let warnings = page.warnings();
    for warning in &warnings {
        for (i, line) in wrapped(warning, WIDTH - 5).iter().enumerate() {
            out.line(&format!("  {} {line}", if i == 0 { "!!" } else { "  " }));
        }
    }
    if !warnings.is_empty() {
        out.line("");
    }
    head(page, &mut out);
    findings(page, &mut out);
    for (effect, title) in super::PARTS {
        let all: Vec<&Statement> = page.with(effect).collect();
        if !all.is_empty() {
            out.part(&format!("{title} ({})", all.len()));
            all.into_iter().for_each(|s| statement(s, &mut out));
        }
    }
    if !page.recovery.is_empty() {
        out.part(&format!("Recovery, for people to run ({})", page.recovery.len()));
        if !page.follows.is_empty() {
            out.field(2, "logs", &page.follows.join("; "));
        }
        for step in &page.recovery {
            for line in wrapped(&format!("{}: {}", step.when, step.say), WIDTH - 2) {
                out.line(&format!("  {line}"));
            }
            for line in step.run.iter().flat_map(|run| wrapped(run, WIDTH - 6)) {
                out.line(&format!("      {line}"));
            }
        }
    }
    out.part("Bounds");
    out.fields("at most", limits_words(&page.limits));
    out.fields("cannot", &page.cannot);
    out.part("Who says so");
    out.fields("declared", &page.trusted.declared);
    out.fields("checked", &page.trusted.checked);
    out.fields("not seen", &page.trusted.unseen);
    out.0
}

fn head(page: &Page, out: &mut Sheet) {
    if let Some(digest) = &page.manifest_sha256 {
        out.field(2, "manifest", &format!("sha256 {digest}"));
    }
    if let Some(component) = &page.component {
        out.field(2, "component", &format!("sha256 {}", component.sha256));
        out.field(2, "", &format!("{} bytes, built by {}", component.size, component.compiler));
    }
    out.fields("signed by", page.signatures());
    out.field(2, "authors", &page.authors.join(", "));
    out.field(2, "expires", &page.expiry());
    if let Some(standing) = &page.standing {
        if let Some(floor) = standing.floor {
            out.field(2, "floor", &format!("sequence {floor}: nothing older is installed here"));
        }
        if let Some(granted) = standing.granted {
            out.field(
                2,
                "granted",
                if granted { "yes, within what was accepted here" } else { "NO: not accepted here" },
            );
        }
    }
    let snapshots: Vec<&str> = page.snapshots.iter().map(|s| snapshot_word(*s)).collect();
    out.field(2, "serves", &format!("workload_name = {}", page.workloads.join(", ")));
    out.field(2, "world", &page.world);
    out.field(2, "consistent", &format!("under a snapshot of {}", snapshots.join(", or ")));
    if let Some(component) = &page.component {
        out.field(2, "is given", &super::given(&component.imports));
    }
    let client = &page.client;
    let mode = match client.mode {
        Mode::Session => "one process for each session, from prepare to the thaw",
        Mode::Command => "one process for each statement",
    };
    out.field(2, "runs", &format!("{}: as linux_user, {mode}", client.programs.join(", else ")));
    out.field(2, "with", &client.arguments.iter().map(|a| quoted(a)).collect::<Vec<_>>().join(" "));
    out.fields("logs in", client.login_words());
    out.fields("knows", client.environment.iter().map(|(name, value)| format!("{name} = {value}")));
    for (i, line) in client.first().into_iter().enumerate() {
        out.field(2, ["first sends", "then", ""][i.min(2)], line);
    }
    let end = if client.end.is_empty() { "a line break".to_owned() } else { format!(" {} ", client.end) };
    out.field(2, "then sends", &format!("after each statement {end} and  {}", client.tag));
    if let Some(more) = client.more {
        out.field(2, "", more);
    }
    out.field(2, "quotes", &format!("a name in  {}", client.identifier_quote));
    out.field(2, "rows are", rows_word(client.rows));
    out.fields("errors are", client.error_words());
    for (i, session) in page.sessions.iter().enumerate() {
        let mut words = session.name.clone();
        if session.each {
            words += ", once for each database";
        }
        if let Some(id) = &session.id {
            words += &format!(", named by {id}");
        }
        if let Some(cancel) = &session.cancel {
            words += &format!(", ended by {cancel}");
        }
        out.field(2, if i == 0 { "sessions" } else { "" }, &words);
    }
    out.fields("believed", page.believed.iter().map(|b| format!("{}: {}{}", b.what, b.statement, answer(b))));
    out.fields("logs", &page.logs);
    if let Some(privileges) = &page.privileges {
        out.fields("login needs", privileges.needed.iter().map(|(name, n)| needed_words(name, n)));
        out.fields("no excess", &privileges.usual);
        out.fields("made by", &privileges.make);
    }
}

fn answer(believed: &Believed) -> String {
    believed.answer.as_ref().map(|a| format!(", if it answers {a}")).unwrap_or_default()
}

fn quoted(argument: &str) -> String {
    if argument.is_empty() || argument.contains([' ', '\'', '"']) { format!("{argument:?}") } else { argument.into() }
}

fn findings(page: &Page, out: &mut Sheet) {
    let [danger, look, note] = [Severity::Danger, Severity::Look, Severity::Note].map(|s| page.count(s));
    out.part(&format!("FINDINGS ({danger} danger, {look} to look at, {note} to know)"));
    for finding in &page.findings {
        out.field(2, finding.severity.word(), &format!("{}: {}", finding.at, finding.words));
    }
}

fn statement(statement: &Statement, out: &mut Sheet) {
    let checked = checked_word(statement.checked);
    out.line(&plain(&format!("  {}   in session {}   checked: {checked}", statement.name, statement.session)));
    for line in wrapped(&statement.text, WIDTH - 6) {
        out.line(&format!("      {line}"));
    }
    let mut label = "with";
    for (name, what) in &statement.parameters {
        out.field(6, label, &format!("{{{name}}} {what}"));
        label = "";
    }
    if !statement.answers.is_empty() {
        out.field(6, "answers", &statement.answers.join("; "));
    }
    if statement.effect == Effect::Freeze {
        let declared = format!("stops {}; lasts {}", stops_word(statement.stops), lasts_word(statement.lasts));
        let recoverable = if statement.recoverable { "; a copy is made whole by recovery" } else { "" };
        out.field(6, "declared", &format!("freeze: {declared}{recoverable}"));
        if !statement.snapshots.is_empty() {
            let kinds: Vec<&str> = statement.snapshots.iter().map(|s| snapshot_word(*s)).collect();
            out.field(6, "", &format!("counts only under a snapshot of {}", kinds.join(", or ")));
        }
    }
    if let Some(undo) = &statement.undo {
        out.field(6, "undone by", &format!("{}:  {}", undo.statement, undo.text));
        for (parameter, from) in &undo.arguments {
            out.field(6, "", &format!("{{{parameter}}} is {from}"));
        }
        if !undo.nothing.is_empty() {
            out.field(6, "", &format!("counts as done after {}", undo.nothing.join(", ")));
        }
        if let Some(words) = &undo.by_hand {
            out.field(6, "by hand", words);
        }
    }
    if let Some(foreign) = &statement.foreign {
        out.field(6, "not undone", &format!("where the database says that it is somebody else's:  {foreign}"));
    }
    for (i, proof) in statement.proofs.iter().enumerate() {
        let name = if i == 0 { "proved by" } else { "or by" };
        out.field(6, name, &format!("{}:  {}   must answer {}", proof.statement, proof.text, proof.answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_whole() {
        let long = format!("SELECT {} FROM t WHERE a  =  1 ", "x".repeat(300));
        for width in [10, 30, 104] {
            let lines = wrapped(&long, width);
            assert_eq!(lines.concat(), long);
            assert!(lines.iter().all(|l| l.trim_end().chars().count() <= width), "{lines:#?}");
        }
    }
}
