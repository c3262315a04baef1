//! What a reviewer should look at before signing: computed, from the manifest alone.

use std::collections::BTreeSet;

use regex_lite::Regex;
use serde::Serialize;
use stillpoint_contract::Manifest;
use stillpoint_contract::manifest::{Effect, Lasts, Rows};

use super::dialect::{Dialect, INTERPRETERS, Token, tokens};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Do not sign before it is explained.
    Danger,
    /// This build cannot say that it is harmless.
    Look,
    /// Good to know.
    Note,
}

impl Severity {
    /// As it stands on a page.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Danger => "DANGER",
            Severity::Look => "look",
            Severity::Note => "note",
        }
    }
}

/// One thing worth a reviewer's eye.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where in the manifest: `statements.version`, `client.arguments`.
    pub at: String,
    /// What it could do.
    pub words: String,
}

/// Everything found, the worst first.
pub fn findings(manifest: &Manifest) -> Vec<Finding> {
    let dialect = Dialect::of(&manifest.client);
    let mut out = Vec::new();
    statements(manifest, dialect, &mut out);
    programs(manifest, dialect, &mut out);
    arguments(manifest, dialect, &mut out);
    talk(manifest, dialect, &mut out);
    proofs(manifest, dialect, &mut out);
    privileges(manifest, dialect, &mut out);
    unused(manifest, &mut out);
    letters(manifest, &mut out);
    out.sort();
    out.dedup();
    out
}

fn say(out: &mut Vec<Finding>, severity: Severity, at: impl Into<String>, words: impl Into<String>) {
    out.push(Finding { severity, at: at.into(), words: words.into() });
}

fn statements(manifest: &Manifest, dialect: Dialect, out: &mut Vec<Finding>) {
    for (name, statement) in &manifest.statements {
        let at = format!("statements.{name}");
        for (severity, words) in dialect.judge(manifest, statement).doubts {
            say(out, severity, &at, words);
        }
        let words = match statement.lasts {
            Some(Lasts::Server) => "outlasts a crash of ours: until the host takes it back, or the server restarts",
            Some(Lasts::Disk) => {
                "outlasts a crash of ours and of the server: only the host takes it back, and it is in the snapshot"
            }
            Some(Lasts::Expires) => "outlasts a crash of ours: until the host takes it back, or its time is over",
            Some(Lasts::Session) | None => continue,
        };
        say(out, Severity::Note, at, words);
    }
    if dialect == Dialect::Unknown {
        let words = "a language that this build does not know: nothing said of its statements is checked";
        say(out, Severity::Look, "client.programs", words);
    }
    if dialect == Dialect::Postgres && manifest.client.read_only.is_none() {
        say(
            out,
            Severity::Look,
            "client.read_only",
            "reads run in sessions that could write: this server could refuse it",
        );
    }
}

fn programs(manifest: &Manifest, dialect: Dialect, out: &mut Vec<Finding>) {
    let at = "client.programs";
    for program in &manifest.client.programs {
        let bare = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        if INTERPRETERS.contains(&program.as_str()) || INTERPRETERS.contains(&bare) {
            say(out, Severity::Danger, at, format!("{program} runs whatever it is given: it is no database's client"));
        } else if Dialect::of_program(program) == Dialect::Unknown {
            say(out, Severity::Look, at, format!("{program} is a program that this build does not know"));
        } else if Dialect::of_program(program) != dialect {
            let words = "programs of different databases: which language is spoken depends on what is installed";
            say(out, Severity::Danger, at, words);
        }
    }
}

fn arguments(manifest: &Manifest, dialect: Dialect, out: &mut Vec<Finding>) {
    for name in manifest.client.environment.keys().filter(|n| !dialect.language().environment.contains(&n.as_str())) {
        let words = format!("{name}: a variable that this build does not know can make the client do anything");
        say(out, Severity::Danger, "client.environment", words);
    }
    for line in manifest.client.setup.iter().filter(|l| !dialect.language().setup.contains(&l.as_str())) {
        let words = format!("{line}: sent first of all, and this build does not know what it does");
        say(out, Severity::Danger, "client.setup", words);
    }
    if dialect == Dialect::Unknown {
        if !manifest.client.arguments.is_empty() || manifest.client.login.is_some() {
            say(out, Severity::Look, "client.arguments", "arguments of a program that this build does not know");
        }
        return;
    }
    let language = dialect.language();
    let all = &manifest.client.arguments;
    if let Some(login) = &manifest.client.login
        && !language.logins.contains(&login.argument.as_str())
    {
        let words = format!("{}: the login reaches the client in a way that this build does not know", login.argument);
        say(out, Severity::Danger, "client.login", words);
    }
    if manifest.client.login.is_none() && !language.logins.is_empty() {
        say(
            out,
            Severity::Look,
            "client.login",
            "without it the client reads options of its user's, and of the machine's",
        );
    }
    // `-init /dev/null` is two words with one meaning.
    let mut covered = BTreeSet::new();
    for (needed, without, severity) in language.needed {
        match all.windows(needed.len()).position(|w| w.iter().eq(needed.iter())) {
            Some(at) => covered.extend(at..at + needed.len()),
            None if *needed == ["-X"] && all.iter().any(|a| a == "--no-psqlrc" || a.contains("X") && a.len() < 6) => {}
            None => say(out, *severity, "client.arguments", format!("without {}: {without}", needed.join(" "))),
        }
    }
    for (i, argument) in all.iter().enumerate() {
        if covered.contains(&i) || language.arguments.contains(&argument.as_str()) {
            continue;
        }
        match dangerous(dialect, argument) {
            Some(does) => say(out, Severity::Danger, "client.arguments", format!("{argument}: {does}")),
            None => say(
                out,
                Severity::Look,
                "client.arguments",
                format!("{argument}: an argument that this build does not know"),
            ),
        }
    }
}

/// What an argument lets the client do, however it is written: MySQL's family and psql take a beginning for the whole,
/// `_` for `-`, and `--loose-` before.
fn dangerous(dialect: Dialect, argument: &str) -> Option<&'static str> {
    let options = dialect.language().options;
    let own = argument.split(['=', '{']).next().unwrap_or_default().replace('_', "-");
    if let Some(long) = own.strip_prefix("--") {
        let long = ["loose-", "enable-", "maximum-"].iter().fold(long, |l, p| l.strip_prefix(p).unwrap_or(l));
        let (of_long, of_short) = (format!("--{long}"), format!("-{long}"));
        return options
            .iter()
            .find(|(o, _)| (o.starts_with(&of_long) && o.starts_with("--") && !long.is_empty()) || *o == of_short)
            .map(|(_, does)| *does);
    }
    if own.starts_with('-') && own.len() > 1 {
        if let Some((_, does)) = options.iter().find(|(o, _)| *o == own) {
            return Some(does);
        }
        // Short options stand together, and take what follows for their value.
        return match dialect {
            Dialect::MySql => Some("short options in one word, which may run statements (-e) or reach elsewhere (-h)"),
            Dialect::Postgres | Dialect::Firebird | Dialect::Redis => options
                .iter()
                .find(|(o, _)| o.len() == 2 && o.strip_prefix('-').is_some_and(|letter| own.contains(letter)))
                .map(|(_, does)| *does),
            _ => None,
        };
    }
    match dialect {
        Dialect::Sqlite => Some("a word behind the database's name is run: a statement, or a command of the client"),
        Dialect::Oracle if argument.contains('@') => Some("runs what stands in a file, or reaches another server"),
        Dialect::Oracle if argument.eq_ignore_ascii_case("/") || argument.eq_ignore_ascii_case("as") => {
            Some("is the database's owner, by the user of the machine")
        }
        Dialect::Redis => Some("a word without - is a command that stands in no list"),
        Dialect::Postgres => Some("the name of another database, or options of a connection"),
        Dialect::Firebird => Some("the name of another database"),
        _ => None,
    }
}

/// How statements are ended and answers and errors are told apart: lines that are sent or believed each time.
fn talk(manifest: &Manifest, dialect: Dialect, out: &mut Vec<Finding>) {
    let (client, language) = (&manifest.client, dialect.language());
    if dialect != Dialect::Unknown {
        if !language.tags.contains(&client.tag.as_str()) {
            let words = "sent after each statement, and it is not what this build knows to mark an answer's end";
            say(out, Severity::Danger, "client.tag", words);
        }
        if !language.ends.contains(&client.end.as_str()) {
            let words =
                "sent after each statement, and it is not what ends one: one text may be more than one statement";
            say(out, Severity::Danger, "client.end", words);
        }
        if let Some(read_only) = &client.read_only
            && !dialect.is_one_of(read_only, language.read_only)
        {
            let words = "sent first of all, and this build does not know that it makes the session read-only";
            say(out, Severity::Danger, "client.read_only", words);
        }
    } else {
        say(out, Severity::Look, "client.tag", format!("sent after each statement: {} {}", client.end, client.tag));
    }
    let at = "client.error";
    let Ok(error) = Regex::new(&client.error) else {
        return say(out, Severity::Danger, at, "no regular expression: no session can be opened");
    };
    if error.is_match("") || error.is_match("a row") || error.is_match("Warning: something else") {
        say(out, Severity::Look, at, "takes lines for errors that are none");
    }
    // isql's message stands on the lines behind.
    if client.rows != Rows::List && !error.capture_names().flatten().any(|n| n == "message") {
        say(out, Severity::Look, at, "has no group  message : what the database says is not told");
    }
    for lines in language.errors {
        if !lines.iter().any(|l| error.is_match(l)) {
            say(
                out,
                Severity::Danger,
                at,
                format!("passes over errors such as  {} : a failure counts as done", lines[0]),
            );
        }
    }
    if dialect == Dialect::MySql && !["2006", "2013"].iter().all(|c| client.lost.iter().any(|l| l == c)) {
        let words = "without 2006 and 2013 a lost server is noticed only when a statement takes too long";
        say(out, Severity::Look, "client.lost", words);
    }
}

/// Statements whose answers the host believes: which server it is, which session, where its data and its logs lie.
fn proofs(manifest: &Manifest, dialect: Dialect, out: &mut Vec<Finding>) {
    let constant = |name: &str| manifest.statements.get(name).is_some_and(|s| dialect.is_constant(&s.text));
    let data = &manifest.data;
    let logs = manifest.logs.as_ref();
    let believed = [
        (
            manifest.identity.as_ref().map(|i| &i.statement),
            "the same for every server: what was frozen on one would be taken back on another",
        ),
        (data.durable.as_ref().map(|d| &d.statement), "says that commits are on disk without asking the server"),
        (data.paths.as_ref(), "says where the data lies without asking the server: elsewhere nothing would be synced"),
        (
            data.process.as_ref().map(|p| &p.statement),
            "says which process is the server without asking it: elsewhere nothing would be synced",
        ),
        (
            data.unheld.as_ref().map(|u| &u.statement),
            "says whether anything can be held without asking the server: it decides whether anything is frozen",
        ),
        (
            manifest.role.as_ref().map(|r| &r.statement),
            "says whether it is a replica without asking the server: enforceSlaveOnly would refuse none, or all",
        ),
        (
            manifest.privileges.as_ref().and_then(|p| p.held.as_ref()),
            "says what the login may do without asking the server: what it has beyond would go unseen",
        ),
        (
            logs.map(|l| &l.series),
            "says whose logs they are without asking the server: those of two servers would be mixed",
        ),
        (
            logs.and_then(|l| l.list.as_ref()),
            "says which logs there are without asking the server: the host copies them, as root",
        ),
        (
            logs.and_then(|l| l.folder.as_ref()),
            "says where the logs lie without asking the server: the host copies from there, as root",
        ),
    ];
    for (name, words) in believed {
        if let Some(name) = name.filter(|n| constant(n)) {
            say(out, Severity::Danger, format!("statements.{name}"), words);
        }
    }
    if manifest.identity.is_none() && manifest.freezes().any(|(_, s)| s.lasts == Some(Lasts::Server)) {
        let words = "a freeze outlasts the session, and without it a restarted server is taken for the same";
        say(out, Severity::Look, "identity", words);
    }
    for (name, session) in &manifest.sessions {
        let (Some(id), Some(_)) = (&session.id, &session.cancel) else { continue };
        let text = manifest.statements.get(id).map(|s| s.text.as_str()).unwrap_or_default();
        let known = dialect.language().ids;
        if constant(id) || (!known.is_empty() && !dialect.is_one_of(text, known)) {
            let words = format!("names session {name} to be cancelled, and is not known to give that session's own id");
            say(out, Severity::Danger, format!("statements.{id}"), words);
        }
    }
}

fn privileges(manifest: &Manifest, dialect: Dialect, out: &mut Vec<Finding>) {
    let Some(privileges) = &manifest.privileges else { return };
    let excess = dialect.language().excess;
    // Wherever it is held.
    let is_excess = |name: &str| {
        let name = name.trim().to_lowercase();
        excess.contains(&name.split_once(" on ").map_or(name.as_str(), |(name, _)| name))
    };
    for name in privileges.needed.keys().filter(|n| is_excess(n)) {
        say(out, Severity::Danger, "privileges.needed", format!("{name} is far more than a backup needs"));
    }
    for name in privileges.usual.iter().filter(|n| is_excess(n)) {
        say(
            out,
            Severity::Danger,
            "privileges.usual",
            format!("{name} is not what every login has: it would go unseen"),
        );
    }
    for text in &privileges.make {
        let at = "privileges.make";
        let Ok(all) = tokens(dialect, text) else {
            say(out, Severity::Danger, at, format!("cannot be read to its end: {text}"));
            continue;
        };
        let words: Vec<&str> = all.iter().filter_map(Token::name).collect();
        let verb = words.first().copied().unwrap_or_default();
        if !["create", "grant", "alter", "acl"].contains(&verb) {
            say(out, Severity::Danger, at, format!("makes no login: {text}"));
        }
        if all.contains(&Token::Mark(';'))
            || text.contains('\\')
            || all.iter().any(|t| matches!(t, Token::Comment { .. }))
        {
            say(out, Severity::Danger, at, format!("is more than one statement, or hides something: {text}"));
        }
        if !text.contains("{user}") && !text.contains("{role}") {
            say(out, Severity::Danger, at, format!("is for somebody else than this login: {text}"));
        }
        let secret = |t: &Token| t.name().is_some_and(|n| ["identified", "password"].contains(&n));
        let behind = all.iter().position(secret).and_then(|i| all.get(i..)).unwrap_or_default();
        if behind.iter().any(|t| matches!(t, Token::Text(_))) {
            let words = format!("a password that stands in the manifest is known to everybody: {text}");
            say(out, Severity::Look, at, words);
        }
        let granted = words.iter().position(|w| *w == "to" || *w == "on").unwrap_or(words.len());
        for i in 0..words.len() {
            let pair = words.get(i + 1).map(|next| format!("{} {next}", words[i])).unwrap_or_default();
            // What stands behind ON and TO is no privilege.
            let single = i > 0 && (verb != "grant" || i < granted) && is_excess(words[i]);
            if single || (is_excess(&pair) && i > 0) {
                say(out, Severity::Danger, at, format!("gives {}: {text}", words[i].to_uppercase()));
                break;
            }
        }
    }
}

fn unused(manifest: &Manifest, out: &mut Vec<Finding>) {
    for (name, statement) in &manifest.statements {
        let unused = match statement.effect {
            Effect::Undo => !manifest.freezes().any(|(_, f)| f.undo.as_ref().is_some_and(|u| u.statement == *name)),
            Effect::Cancel => !manifest.sessions.values().any(|s| s.cancel.as_ref() == Some(name)),
            _ => false,
        };
        if unused {
            say(
                out,
                Severity::Look,
                format!("statements.{name}"),
                "nothing in the manifest uses it, and the module may",
            );
        }
    }
    for name in manifest.sessions.keys() {
        if !manifest.statements.values().any(|s| s.session == *name) {
            say(out, Severity::Note, format!("sessions.{name}"), "no statement runs in it");
        }
    }
    if manifest.freezes().next().is_none() {
        say(out, Severity::Note, "statements", "nothing freezes: there is nothing that this module is for");
    }
}

/// Names that look like others. Statements are looked at as such.
fn letters(manifest: &Manifest, out: &mut Vec<Finding>) {
    let client = &manifest.client;
    let login = client.login.iter().map(|l| &l.argument);
    let texts = [
        ("authors", manifest.authors.iter().collect::<Vec<_>>()),
        ("workloads", manifest.workloads.iter().collect()),
        ("client.programs", client.programs.iter().collect()),
        ("client.arguments", client.arguments.iter().chain(login).collect()),
        ("client.environment", client.environment.iter().flat_map(|(name, value)| [name, value]).collect()),
        ("client.setup", client.setup.iter().collect()),
        ("client.tag", vec![&client.tag, &client.end]),
        // Root runs them.
        ("recovery.steps", manifest.recovery.iter().flat_map(|r| &r.steps).filter_map(|s| s.run.as_ref()).collect()),
        ("privileges", manifest.privileges.iter().flat_map(|p| p.make.iter().chain(p.needed.keys())).collect()),
    ];
    for (at, texts) in texts {
        for text in texts.into_iter().filter(|t| !t.is_ascii()) {
            say(out, Severity::Danger, at, format!("{text}: letters beyond ASCII can look like others"));
        }
    }
}

#[cfg(test)]
mod tests;
