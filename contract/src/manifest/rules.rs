//! What a manifest must keep to beside its form: it does not contradict itself, and no argument can become a part of what
//! stands beside it.

use std::collections::BTreeSet;

use super::{
    ColumnKind, Each, Effect, Expected, FORMAT, Lasts, LoginFormat, Manifest, Parameter, Printed, Rows, Statement,
    Stops, UndoArgument,
};

impl Manifest {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut say = |text: String| out.push(text);
        if self.format != FORMAT {
            say(format!("format = {} is not known; this build reads format = {FORMAT}", self.format));
        }
        if !is_name(&self.name, '-') {
            say(format!("name = \"{}\" must be 1 to 64 of a-z, 0-9 and -, and begin with a letter", self.name));
        }
        if self.version.split('.').count() != 3 || self.version.split('.').any(|p| !is_number(p)) {
            say(format!("version = \"{}\" must be major.minor.patch", self.version));
        }
        if self.world != crate::WORLD {
            say(format!("world = \"{}\" is not offered; this build offers \"{}\"", self.world, crate::WORLD));
        }
        if self.workloads.is_empty() {
            say("workloads must name at least one workload_name".into());
        }
        if self.authors.is_empty() {
            say("authors must name who wrote it".into());
        }
        if self.authors.iter().any(|a| a.is_empty() || a.contains([' ', '"', ',', '*', '?', '!'])) {
            say("authors are named as reviewers are, without spaces, quotes, commas or patterns".into());
        }
        if self.client.programs.is_empty() {
            say("[client] programs must name at least one program".into());
        }
        if self.client.programs.iter().any(|p| p.is_empty() || p.contains('/')) {
            say("[client] programs are names, not paths".into());
        }
        if !self.client.tag.contains("{tag}") {
            say("[client] tag must contain {tag}".into());
        }
        if let Some(login) = &self.client.login
            && login.argument.contains("{login}") == (login.format == LoginFormat::ConnectLine)
        {
            say("[client] login argument must contain {login}, and with a connect-line there is none".into());
        }
        if self.client.login.as_ref().is_some_and(|l| l.format == LoginFormat::AskPass && l.argument != "{login}") {
            say("[client] login argument is \"{login}\" alone where the format is ask-pass: it is several arguments"
                .into());
        }
        for (name, session) in &self.sessions {
            if !is_name(name, '_') {
                say(format!("[sessions.{name}]: a name is 1 to 64 of a-z, 0-9 and _, and begins with a letter"));
            }
            if let Some(id) = &session.id {
                match self.statements.get(id) {
                    Some(s)
                        if s.effect == Effect::Read
                            && s.session == *name
                            && s.parameters.is_empty()
                            && s.columns.len() == 1 => {}
                    Some(_) => say(format!(
                        "[sessions.{name}] id = \"{id}\" must be a read of this session, without parameters and with one column"
                    )),
                    None => say(format!("[sessions.{name}] id = \"{id}\" is not declared under [statements]")),
                }
            }
            if let Some(cancel) = &session.cancel {
                match self.statements.get(cancel) {
                    Some(s) if s.effect == Effect::Cancel && s.session != *name => {}
                    Some(_) => say(format!(
                        "[sessions.{name}] cancel = \"{cancel}\" must have effect = \"cancel\" and run in another session"
                    )),
                    None => say(format!("[sessions.{name}] cancel = \"{cancel}\" is not declared under [statements]")),
                }
                if session.each.is_some() {
                    say(format!("[sessions.{name}] is opened for each database: such a session has no cancel"));
                }
                if session.id.is_none() {
                    say(format!("[sessions.{name}] has a cancel, so it needs an id"));
                }
            }
        }
        for (name, statement) in &self.statements {
            out.extend(
                self.statement_problems(name, statement).into_iter().map(|p| format!("[statements.{name}]: {p}")),
            );
        }
        if let Some(identity) = &self.identity {
            out.extend(self.read_problem("[identity] statement", &identity.statement, None, None));
        }
        if let Some(process) = &self.data.process {
            out.extend(self.read_problem("[data] process", &process.statement, None, Some(ColumnKind::Integer)));
            if process.named.is_empty() {
                out.push("[data] process must say how the server's process is named".into());
            }
            if self.data.paths.is_some() {
                out.push("[data] has paths or process, not both".into());
            }
        } else if let Some(paths) = &self.data.paths {
            out.extend(self.question_problem("[data] paths", paths, Some(ColumnKind::Text)));
        } else if !self.sessions.values().any(|s| s.each.is_some()) {
            out.push("[data] paths or process is needed where no session is opened for each database".into());
        }
        if let Some(durable) = &self.data.durable {
            out.extend(self.question_problem("[data] durable", &durable.statement, durable.answer.kind()));
            if durable.answer == Expected::Unchanged {
                out.push("[data] durable must name the answer itself".into());
            }
        }
        if matches!(self.client.rows, Rows::Reply | Rows::QuotedCsv) && self.client.errors != Printed::StandardOutput {
            out.push("[client] errors = \"standard-output\": this client prints them among the rows".into());
        }
        if let Some(read_only) = &self.client.read_only {
            out.extend(self.text_problem(read_only).map(|p| format!("[client] read_only: {p}")));
        }
        out.extend(self.environment_problems());
        for line in &self.client.setup {
            if !is_setup(line) {
                out.push(format!("[client] setup = \"{line}\" must be a SET or WHENEVER of plain words on one line"));
            }
        }
        if let Some(unheld) = &self.data.unheld {
            out.extend(self.read_problem("[data.unheld] statement", &unheld.statement, None, Some(ColumnKind::Text)));
            if unheld.states.is_empty() || unheld.states.values().any(String::is_empty) {
                out.push("[data.unheld] states names each state, and why nothing is held there".into());
            }
        }
        out.extend(self.privilege_problems());
        out.extend(self.log_problems());
        if let Some(role) = &self.role {
            out.extend(self.read_problem("[role] statement", &role.statement, None, role.replica.kind()));
            if role.replica == Expected::Unchanged {
                out.push("[role] replica must name the answer itself".into());
            }
        }
        if let Some(recovery) = &self.recovery {
            out.extend(recovery.problems(self));
        }
        if let Some(wasm) = &self.wasm
            && !wasm.imports.is_sorted_by(|a, b| a < b)
        {
            out.push("[wasm] imports are in the order of the world, each once".into());
        }
        if let Some(wasm) = &self.wasm
            && (wasm.sha256.len() != 64
                || !wasm.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
        {
            out.push("[wasm] sha256 must be 64 hexadecimal digits in lower case".into());
        }
        out
    }

    fn privilege_problems(&self) -> Vec<String> {
        let Some(privileges) = &self.privileges else { return Vec::new() };
        let mut out = Vec::new();
        for text in &privileges.make {
            if text.replace("{user}", "").replace("{role}", "").contains(['{', '}']) {
                out.push("[privileges] make has no placeholder but {user} and {role}".into());
            }
        }
        match &privileges.held {
            Some(held) => out.extend(self.question_problem("[privileges] held", held, Some(ColumnKind::Text))),
            None if privileges.needed.is_empty() => {}
            None => out.push("[privileges] needed can only be looked for with held".into()),
        }
        out
    }

    /// What the client finds in its environment can make it load or run anything.
    fn environment_problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (name, value) in &self.client.environment {
            let plain = name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            let ours = ["PATH", "HOME", "SHELL", "ENV", "IFS"].contains(&name.as_str());
            if !plain || ours || ["LD_", "LC_", "BASH"].iter().any(|p| name.starts_with(p)) {
                out.push(format!("[client] environment: {name} is not the module's to set"));
            }
            if value.replace("{instance}", "").replace("{home}", "").contains(['{', '}']) {
                out.push(format!("[client] environment: {name} has no placeholder but {{instance}} and {{home}}"));
            }
        }
        out
    }

    fn log_problems(&self) -> Vec<String> {
        let Some(logs) = &self.logs else { return Vec::new() };
        let mut out = Vec::new();
        let reads = [("series", Some(&logs.series)), ("list", logs.list.as_ref()), ("folder", logs.folder.as_ref())];
        for (key, name) in reads {
            out.extend(
                name.and_then(|name| self.read_problem(&format!("[logs] {key}"), name, None, Some(ColumnKind::Text))),
            );
        }
        if let Some(rotate) = &logs.rotate {
            let fits = |s: &Statement| {
                s.effect == Effect::Change && s.parameters.is_empty() && self.each(&s.session).is_none()
            };
            if !self.statements.get(rotate).is_some_and(fits) {
                out.push(format!(
                    "[logs] rotate = \"{rotate}\" must be a change without parameters, in a session opened once"
                ));
            }
        }
        let closed = |name: &String| self.statements.get(name)?.columns.first().map(|c| c.kind);
        if logs.list.is_none() && logs.rotate.as_ref().and_then(closed) != Some(ColumnKind::Text) {
            out.push("[logs] has a list, or a rotate that answers with the log that it has closed, as text".into());
        }
        if logs.list.is_none() && (logs.folder.is_some() || logs.last_is_open) {
            out.push("[logs] folder and last_is_open belong to a list".into());
        }
        out
    }

    /// A text that is sent as it is.
    fn text_problem(&self, text: &str) -> Option<String> {
        // Where the client reads its own commands as words, only the verbs of statements are let through: HOST runs a
        // shell, SPOOL writes a file, START and GET read one.
        let verb = text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        if self.client.login.as_ref().is_some_and(|l| l.format == LoginFormat::ConnectLine)
            && !["SELECT", "WITH", "ALTER"].iter().any(|v| v.eq_ignore_ascii_case(verb))
        {
            return Some("this client has commands of its own: text begins with SELECT, WITH or ALTER".into());
        }
        // What begins with a backslash or a dot is a command of the client, which might run a shell.
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            Some("text begins with a letter: it is a statement, and no command of the client".into())
        } else if self.client.rows == Rows::List && !is_no_command_of_isql(text) {
            Some(format!("text begins with {}: isql takes other words for its own commands", ISQL.join(", ")))
        } else if text.contains(['\n', '\r', '\0'])
            || (!self.client.end.is_empty() && text.contains(self.client.end.as_str()))
        {
            Some(format!("text is one statement on one line, without \"{}\"", self.client.end))
        } else {
            None
        }
    }

    /// Whether sessions of this name are opened once for each database.
    fn each(&self, session: &str) -> Option<Each> {
        self.sessions.get(session).and_then(|s| s.each)
    }

    /// A statement that the host asks by itself: once, or in each database.
    fn question_problem(&self, place: &str, name: &str, kind: Option<ColumnKind>) -> Option<String> {
        let each = self.statements.get(name).and_then(|s| self.each(&s.session));
        self.read_problem(place, name, each, kind)
    }

    /// A statement that the host asks by itself, in a session that is opened `each`. What its first column gives is of this
    /// kind: anything else would be passed over.
    fn read_problem(&self, place: &str, name: &str, each: Option<Each>, kind: Option<ColumnKind>) -> Option<String> {
        let Some(statement) = self.statements.get(name) else {
            return Some(format!("{place} = \"{name}\" is not declared under [statements]"));
        };
        let first = statement.columns.first().map(|c| c.kind);
        if self.each(&statement.session) != each {
            let opened = match each {
                None => "once, not for each database",
                Some(Each::Database) => "for each database",
            };
            Some(format!("{place} = \"{name}\" must run in a session of the right kind: opened {opened}"))
        } else if statement.effect != Effect::Read || !statement.parameters.is_empty() || first.is_none() {
            Some(format!("{place} = \"{name}\" must be a read without parameters that has a column"))
        } else if let Some(kind) = kind
            && first != Some(kind)
        {
            let word = match kind {
                ColumnKind::Integer => "an integer",
                ColumnKind::Text => "text",
                ColumnKind::Bytes => "bytes",
            };
            Some(format!("{place} = \"{name}\" must give {word} in its first column"))
        } else {
            None
        }
    }

    fn statement_problems(&self, name: &str, statement: &Statement) -> Vec<String> {
        let mut out = Vec::new();
        if !is_name(name, '_') {
            out.push("a name is 1 to 64 of a-z, 0-9 and _, and begins with a letter".into());
        }
        if !self.sessions.contains_key(&statement.session) {
            out.push(format!("session = \"{}\" is not declared under [sessions]", statement.session));
        }
        out.extend(self.text_problem(&statement.text));
        match placeholders(&statement.text) {
            Err(problem) => out.push(problem),
            Ok(named) => {
                let named: BTreeSet<&str> = named.into_iter().collect();
                for n in &named {
                    if !statement.parameters.contains_key(*n) {
                        out.push(format!("{{{n}}} in its text is not declared under parameters"));
                    }
                }
                for p in statement.parameters.keys() {
                    if !named.contains(p.as_str()) {
                        out.push(format!("parameter {p} is not in its text"));
                    }
                    if !is_name(p, '_') {
                        out.push(format!(
                            "parameter {p}: a name is 1 to 64 of a-z, 0-9 and _, and begins with a letter"
                        ));
                    }
                }
            }
        }
        for (p, parameter) in &statement.parameters {
            if let Parameter::Integer { from, to } = parameter
                && from > to
            {
                out.push(format!("parameter {p}: from is above to"));
            }
            if self.client.rows == Rows::Reply && matches!(parameter, Parameter::Text { .. } | Parameter::Bytes { .. })
            {
                out.push(format!("parameter {p}: this client's quoting is its own; take an integer or an identifier"));
            }
        }
        let session_parameters = statement.parameters.values().filter(|p| **p == Parameter::Session).count();
        if statement.effect == Effect::Cancel {
            if session_parameters != 1 || statement.parameters.len() != 1 {
                out.push("a cancel has one parameter, of type session".into());
            }
        } else if session_parameters > 0 {
            out.push("only a cancel has a parameter of type session".into());
        }
        let mut seen = BTreeSet::new();
        for column in &statement.columns {
            if !is_name(&column.name, '_') {
                out.push(format!(
                    "column {}: a name is 1 to 64 of a-z, 0-9 and _, and begins with a letter",
                    column.name
                ));
            }
            if !seen.insert(&column.name) {
                out.push(format!("column {} is there twice", column.name));
            }
            if self.client.rows == Rows::QuotedCsv && column.nullable {
                out.push(format!("column {}: this client prints nothing for NULL; take NVL() of it", column.name));
                continue;
            }
            let exact = match self.client.rows {
                Rows::Quoted => true,
                Rows::Reply => column.kind != ColumnKind::Bytes,
                Rows::TabSeparated | Rows::Csv | Rows::QuotedCsv | Rows::List => false,
            } || column.kind == ColumnKind::Integer
                || column.encoding.is_some();
            if !exact && self.client.rows == Rows::List {
                out.push(format!("column {}: this client prints text that could pass for other lines; cast it to CHARACTER SET OCTETS and declare encoding = \"hex\"", column.name));
            } else if !exact && column.nullable {
                out.push(format!("column {}: this client prints NULL like the text NULL; take HEX() of it and declare encoding = \"hex\"", column.name));
            }
            if !exact && column.kind == ColumnKind::Bytes {
                out.push(format!("column {}: this client does not print bytes exactly; take HEX() of it and declare encoding = \"hex\"", column.name));
            }
            let is_one = self.each(&statement.session).is_none();
            if column.keep && (column.kind == ColumnKind::Bytes || statement.effect == Effect::Freeze || !is_one) {
                out.push(format!(
                    "column {}: what is kept is text or a number, known in thaw, of a session opened once",
                    column.name
                ));
            }
            if column.encoding.is_some() && column.kind == ColumnKind::Integer {
                out.push(format!("column {}: an integer has no encoding", column.name));
            }
        }
        if statement.effect == Effect::Freeze {
            out.extend(self.freeze_problems(statement));
        } else if statement.stops.is_some()
            || statement.lasts.is_some()
            || statement.undo.is_some()
            || statement.proofs().next().is_some()
            || statement.recoverable
            || !statement.snapshots.is_empty()
            || statement.foreign.is_some()
        {
            out.push(
                "stops, lasts, undo, holds, or_holds, foreign, recoverable and snapshots belong to effect = \"freeze\" alone"
                    .into(),
            );
        }
        out
    }

    fn freeze_problems(&self, statement: &Statement) -> Vec<String> {
        let mut out = Vec::new();
        if statement.stops.is_none() {
            out.push("a freeze needs stops = \"nothing\", \"ddl\" or \"writes\"".into());
        }
        if statement.recoverable && statement.stops == Some(Stops::Writes) {
            out.push("recoverable is for a freeze that does not stop writes".into());
        }
        if statement.snapshots.iter().any(|kind| !self.snapshots.contains(kind)) {
            out.push("its snapshots must be among those of the module".into());
        }
        if statement.foreign.as_ref().is_some_and(|f| f.trim().len() < 12) {
            out.push("foreign is a part of an error that nothing else says: at least 12 letters".into());
        }
        if statement.lasts.is_none() {
            out.push("a freeze needs lasts = \"session\", \"expires\", \"server\" or \"disk\"".into());
        }
        match &statement.undo {
            None => out.push("a freeze needs an undo".into()),
            Some(undo) => match self.statements.get(&undo.statement) {
                None => out.push(format!("undo \"{}\" is not declared under [statements]", undo.statement)),
                Some(target) => {
                    if target.effect != Effect::Undo {
                        out.push(format!("undo \"{}\" must have effect = \"undo\"", undo.statement));
                    }
                    if self.each(&target.session) != self.each(&statement.session) {
                        out.push(format!("undo \"{}\" must run in a session of the same kind", undo.statement));
                    }
                    if statement.lasts == Some(Lasts::Session) && target.session != statement.session {
                        out.push(format!(
                            "undo \"{}\" must run in the session that froze: it lasts as long as that session",
                            undo.statement
                        ));
                    }
                    if !target.parameters.keys().eq(undo.arguments.keys()) {
                        out.push(format!("undo \"{}\" needs exactly its own parameters as arguments", undo.statement));
                    }
                    if undo.nothing.iter().any(String::is_empty)
                        || (!undo.nothing.is_empty() && !self.client.error.contains("(?<code>"))
                    {
                        out.push("nothing lists codes of errors, and [client] error has the group code".into());
                    }
                    for argument in undo.arguments.values() {
                        match argument {
                            UndoArgument::Previous(read) => {
                                out.extend(self.read_problem("previous", read, self.each(&statement.session), None))
                            }
                            UndoArgument::Argument(p) if !statement.parameters.contains_key(p) => {
                                out.push(format!("undo takes argument \"{p}\", which is no parameter here"));
                            }
                            UndoArgument::Argument(_) => {}
                        }
                    }
                }
            },
        }
        if statement.holds.is_none() {
            out.push("a freeze needs holds: the statement whose answer proves that it still holds".into());
        }
        for proof in statement.proofs() {
            let each = self.each(&statement.session);
            out.extend(self.read_problem("holds", &proof.statement, each, proof.answer.kind()));
        }
        out
    }
}

/// With what a statement for `isql` may begin. Its commands are plain words, known by their first letters, and among them
/// are `SHELL`, `INPUT`, `OUTPUT`, `CONNECT` and `SET`; so what is no command is listed, not what is one.
const ISQL: [&str; 8] = ["SELECT", "WITH", "ALTER", "EXECUTE", "INSERT", "UPDATE", "DELETE", "MERGE"];

fn is_no_command_of_isql(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(word, _)| ISQL.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// The names of the `{placeholders}` of a statement's text, in order; one that stands twice is given twice.
///
/// # Errors
/// In words: a brace without its partner, an empty name, or a place in which an argument could become a part of what
/// stands beside it: within quotes, after a comment, or without a space.
pub fn placeholders(text: &str) -> Result<Vec<&str>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut place = Place { quote: None, last: ' ', read: 0 };
    while let Some(at) = rest.find(['{', '}']) {
        let tail = &rest[at..];
        if tail.starts_with('}') {
            return Err("a } without its {".into());
        }
        let end = tail.find('}').ok_or("a { without its }")?;
        let name = &tail[1..end];
        if !is_name(name, '_') {
            return Err(format!("{{{name}}} is no name of a parameter"));
        }
        out.push(name);
        rest = &tail[end + 1..];
        let before = &text[..text.len() - tail.len()];
        let apart = before.ends_with([' ', '(', ',', '=', '<', '>', '.'])
            && (rest.is_empty() || rest.starts_with([' ', ')', ',', '.', ':']));
        if !apart {
            return Err(format!("{{{name}}} needs a space, a comma or a parenthesis on either side"));
        }
        place.outside_of_quotes(before).map_err(|why| format!("{{{name}}} {why}"))?;
    }
    Ok(out)
}

/// A place in a statement's text.
struct Place {
    quote: Option<char>,
    last: char,
    /// How many bytes of the text are before it.
    read: usize,
}

impl Place {
    /// Goes to the end of `before`, which begins with all that was before this place: nobody knows yet who has written
    /// the text, so none of it is read twice. Whether what follows there stands outside of quotes and comments, however
    /// a database reads it: a host that quotes an argument once more would let it out.
    fn outside_of_quotes(&mut self, before: &str) -> Result<(), &'static str> {
        for c in before.get(self.read..).unwrap_or_default().chars() {
            match (self.quote, c) {
                (_, '\\') => return Err("stands after a backslash, which not every database reads alike"),
                (Some('`'), '\'' | '"') => {
                    return Err("stands after a quote within ``, which not every database reads alike");
                }
                (None, '\'' | '"' | '`') => self.quote = Some(c),
                (Some(open), _) if open == c => self.quote = None,
                (None | Some('`'), '#' | '[') => {
                    return Err("stands after # or [, which not every database reads alike");
                }
                (None | Some('`'), '$') if !self.last.is_alphanumeric() && self.last != '_' => {
                    return Err("stands after a text in dollars, which not every database reads alike");
                }
                (None | Some('`'), '-') if self.last == '-' => return Err("stands after a comment"),
                (None | Some('`'), '*') if self.last == '/' => return Err("stands after a comment"),
                _ => {}
            }
            self.last = c;
        }
        self.read = before.len();
        if self.quote.is_none() { Ok(()) } else { Err("stands within quotes: the host quotes it") }
    }
}

/// The parameters of a statement in the order in which its text first names them: the order of its arguments.
pub fn argument_order(statement: &Statement) -> Vec<&str> {
    let mut out: Vec<&str> = Vec::new();
    for name in placeholders(&statement.text).unwrap_or_default() {
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

/// A character that a reviewer would not see, or would see elsewhere.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// The first line of a manifest's text with such a character, comments too: they are read by people.
pub(super) fn odd_line(text: &str) -> Option<usize> {
    let odd = |line: &str| line.contains(|c| is_hidden(c) && c != '\t');
    text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).position(odd).map(|at| at + 1)
}

/// Characters that a reviewer would not see, or would see elsewhere, in any string of the manifest.
pub(super) fn odd_characters(place: &str, value: &toml::Value, out: &mut Vec<String>) {
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match value {
        toml::Value::String(text) if text.contains(is_hidden) => {
            out.push(format!("{place} holds a character that is not seen"));
        }
        toml::Value::Array(all) => all.iter().for_each(|v| odd_characters(place, v, out)),
        toml::Value::Table(table) => {
            for (name, value) in table {
                if name.contains(is_hidden) {
                    out.push(format!("a name in [{place}] holds a character that is not seen"));
                }
                odd_characters(&below(name), value, out);
            }
        }
        _ => {}
    }
}

/// A setting of the client's own: nothing in it ends the line, and nothing names a file or a program.
fn is_setup(line: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | ',' | '_');
    (line.starts_with("SET ") || line.starts_with("WHENEVER ")) && line.chars().all(plain)
}

/// As one writes it, so that a version is a short name for a folder.
fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|n| n.to_string() == text)
}

fn is_name(text: &str, joint: char) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
format = 1
name = "some"
version = "1.0.0"
sequence = 1
authors = ["ana@example.org"]
summary = "a test"
workloads = ["some"]
world = "stillpoint:workload/module@0.1.0"
snapshots = ["atomic"]

[client]
mode = "session"
programs = ["some"]
arguments = []
end = ";"
tag = "SELECT '{tag}'"
rows = "tab-separated"
error = '^ERROR (?<code>\d+): (?<message>.*)$'
identifier_quote = "`"

[data]
paths = "datadir"

[sessions.main]

[statements.datadir]
session = "main"
text = "SELECT @@datadir"
columns = [{ name = "path", type = "text" }]
effect = "read"

[statements.lock]
session = "main"
text = "LOCK {seconds}"
parameters = { seconds = { type = "integer", from = 1, to = 60 } }
effect = "freeze"
stops = "writes"
lasts = "session"
undo = { statement = "unlock" }
holds = { statement = "datadir", answer = "unchanged" }

[statements.unlock]
session = "main"
text = "UNLOCK"
effect = "undo"
"#;

    fn refused(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "the test replaces what is not there: {from}");
        Manifest::parse(&GOOD.replacen(from, to, 1)).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_good_manifest_is_read() {
        let manifest = Manifest::parse(GOOD).expect("good");
        assert_eq!(manifest.freezes().count(), 1);
        assert_eq!(argument_order(&manifest.statements["lock"]), ["seconds"]);
    }

    #[test]
    fn a_parameter_that_stands_apart_is_read() {
        for text in ["a = 'it''s' + ({a})", "a = {a}", "f({a},{a})", "LIKE '%--' AND v$b >={a} -- why"] {
            assert_eq!(placeholders(text).map(|p| p.contains(&"a")), Ok(true), "{text}");
        }
    }

    /// isql's commands are plain words, and any beginning of one will do.
    #[test]
    fn isql_is_given_statements_and_answers_in_numbers() {
        let isql = GOOD
            .replace("rows = \"tab-separated\"", "rows = \"list\"")
            .replace("name = \"path\", type = \"text\"", "name = \"path\", type = \"text\", encoding = \"hex\"")
            .replace("\"LOCK {seconds}\"", "\"ALTER DATABASE LINGER {seconds}\"")
            .replace("\"UNLOCK\"", "\"alter database linger 0\"");
        Manifest::parse(&isql).expect("good");
        let text = "text = \"alter database linger 0\"";
        for client in
            ["SHELL id", "SHEL id", "IN /tmp/x", "OUT /tmp/x", "CONNECT '/x'", "CONN '/x'", "SET TERM ^", "ALTER"]
        {
            let said =
                Manifest::parse(&isql.replace(text, &format!("text = \"{client}\""))).expect_err("refused").to_string();
            assert!(said.contains("isql takes other words"), "{client}: {said}");
        }
        let said = Manifest::parse(&isql.replace(", encoding = \"hex\"", "")).expect_err("refused").to_string();
        assert!(said.contains("OCTETS"), "{said}");
        let foreign = isql.replace("stops = \"writes\"", "stops = \"writes\"\nforeign = \"failed\"");
        assert!(Manifest::parse(&foreign).expect_err("refused").to_string().contains("at least 12 letters"));
    }

    /// What nobody has signed yet is read, too: to be shown.
    #[test]
    fn a_text_of_parameters_alone_keeps_nobody_waiting() {
        let begun = std::time::Instant::now();
        assert_eq!(placeholders(&format!("LOCK {}", ["{a}"; 200_000].join(","))).map(|p| p.len()), Ok(200_000));
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    /// A client whose own commands are words: whatever is declared, none of them is sent.
    #[test]
    fn no_command_of_sqlplus_can_be_formed() {
        let login = "end = \";\"\nlogin = { argument = \"/nolog\", format = \"connect-line\" }";
        let oracle = GOOD.replace("end = \";\"", login).replace("\"LOCK {seconds}\"", "\"ALTER SYSTEM {seconds}\"");
        let oracle = oracle.replace("\"UNLOCK\"", "\"ALTER SYSTEM RESUME\"");
        Manifest::parse(&oracle).expect("good");
        for text in [
            "HOST id",
            "host id",
            "SPOOL /tmp/a",
            "START a",
            "EDIT",
            "GET a",
            "RUN",
            "SAVE a",
            "STORE SET a",
            "PROMPT a",
            "EXIT",
            "CONNECT / AS SYSDBA",
            "SHUTDOWN ABORT",
            "SET DEFINE ON",
            "BEGIN NULL",
            "@a",
            "@@a",
            "! id",
            "# a",
            "/",
            "SELECT\\n HOST",
            "ALTERED x",
            "PASSWORD",
            "COPY FROM a",
            "OERR",
        ] {
            let said = Manifest::parse(&oracle.replace("ALTER SYSTEM RESUME", text)).map(drop);
            assert!(said.is_err(), "{text}");
        }
    }

    #[test]
    fn contradictions_are_refused_in_words() {
        for (from, to, word) in [
            ("format = 1", "format = 2", "not known"),
            ("version = \"1.0.0\"", "version = \"1.+0.0\"", "major.minor.patch"),
            ("version = \"1.0.0\"", "version = \"1.00.0\"", "major.minor.patch"),
            ("[\"ana@example.org\"]", "[]", "authors"),
            ("[\"ana@example.org\"]", "[\"ana bo\"]", "authors"),
            ("text = \"UNLOCK\"", "text = \"UNLOCK\\u202e\"", "not seen"),
            ("[data]", "# read this \u{202e}backwards\n[data]", "line 22 holds"),
            ("[data]", "# a line \r of its own\n[data]", "line 22 holds"),
            ("summary = \"a test\"", "summary = \"a\\u001b[2Jtest\"", "summary holds"),
            ("end = \";\"", "end = \";\"\nread_only = \"SET X; SET Y\"", "one statement"),
            ("[data]", "[privileges]\nmake = []\nneeded = { A = { why = \"b\" } }\n[data]", "with held"),
            ("[data]", "[privileges]\nmake = [\"GRANT A TO {other}\"]\nneeded = {}\n[data]", "but {user}"),
            ("summary", "sumary", "unknown field"),
            ("effect = \"freeze\"", "effect = \"freez\"", "unknown variant"),
            ("undo = { statement = \"unlock\" }\n", "", "needs an undo"),
            ("undo = { statement = \"unlock\" }", "undo = { statement = \"datadir\" }", "must have effect"),
            ("holds = { statement = \"datadir\", answer = \"unchanged\" }\n", "", "needs holds"),
            ("stops = \"writes\"\n", "", "needs stops"),
            ("LOCK {seconds}", "LOCK", "not in its text"),
            ("LOCK {seconds}", "LOCK {seconds} {more}", "{more}"),
            ("LOCK {seconds}", "LOCK {seconds}; DROP TABLE x", "one statement"),
            ("LOCK {seconds}", "LOCK '{seconds}'", "on either side"),
            ("LOCK {seconds}", "LOCK ' {seconds} '", "within quotes"),
            ("LOCK {seconds}", "LOCK -{seconds}", "on either side"),
            ("LOCK {seconds}", "LOCK {seconds}{seconds}", "on either side"),
            ("LOCK {seconds}", "LOCK /* {seconds} */", "after a comment"),
            ("LOCK {seconds}", "LOCK -- {seconds}", "after a comment"),
            ("LOCK {seconds}", "LOCK # {seconds}", "reads alike"),
            ("text = \"UNLOCK\"\neffect = \"undo\"", "text = \"UNLOCK\"\neffect = \"undo\"\nstops = \"ddl\"", "alone"),
            ("type = \"text\" }", "type = \"text\", nullable = true }", "HEX()"),
            ("text = \"SELECT @@datadir\"", "text = '\\! id'", "no command of the client"),
            (
                "[sessions.main]\n",
                "[identity]\nstatement = \"datadir\"\n\n[sessions.main]\neach = \"database\"\n",
                "session of the right kind",
            ),
            ("stops = \"writes\"\n", "stops = \"writes\"\nrecoverable = true\n", "does not stop writes"),
            ("stops = \"writes\"\n", "stops = \"writes\"\nsnapshots = [\"files\"]\n", "among those of the module"),
            ("[data]", "[role]\nstatement = \"unlock\"\nreplica = { integer = 1 }\n[data]", "must be a read"),
            ("[data]", "[role]\nstatement = \"datadir\"\nreplica = { integer = 1 }\n[data]", "must give an integer"),
            ("[data]", "[logs]\nseries = \"datadir\"\nrotate = \"unlock\"\n[data]", "must be a change"),
            ("[data]", "[logs]\nseries = \"datadir\"\n[data]", "a list, or a rotate"),
            (
                "undo = { statement = \"unlock\" }",
                "undo = { statement = \"unlock\", nothing = [\"\"] }",
                "codes of errors",
            ),
            ("[data]", "[recovery]\nsteps = [{ say = \"a\", run = \"cp '{data}' x\" }]\n[data]", "within quotes"),
            ("[data]", "[recovery]\nsteps = [{ say = \"a\", run = \"id >> {folder}/x\" }]\n[data]", "as its owner"),
            ("[data]", "[recovery]\nsteps = [{ say = \"a\", run = \"id >|  {folder}/x\" }]\n[data]", "as its owner"),
            ("[data]", "[recovery]\nsteps = [{ say = \"a\", run = \"cp {dato} x\" }]\n[data]", "{dato}"),
            ("[data]", "[recovery]\nsteps = [{ say = \"a\", with = [\"kept.label\"] }]\n[data]", "kept.label"),
            ("world = \"stillpoint:workload/module@0.1.0\"", "world = \"other\"", "not offered"),
            ("end = \";\"", "end = \";\"\nenvironment = { LD_PRELOAD = \"/tmp/a.so\" }", "not the module's to set"),
            ("end = \";\"", "end = \";\"\nenvironment = { PATH = \"/tmp\" }", "not the module's to set"),
            ("end = \";\"", "end = \";\"\nenvironment = { SID = \"{other}\" }", "no placeholder"),
            ("end = \";\"", "end = \";\"\nsetup = [\"HOST id\"]", "a SET or WHENEVER"),
            ("end = \";\"", "end = \";\"\nsetup = [\"SET A; HOST id\"]", "a SET or WHENEVER"),
            (
                "end = \";\"",
                "end = \";\"\nlogin = { argument = \"{login}\", format = \"connect-line\" }",
                "there is none",
            ),
            (
                "paths = \"datadir\"",
                "paths = \"datadir\"\nunheld = { statement = \"datadir\", states = {} }",
                "each state",
            ),
        ] {
            let said = refused(from, to);
            assert!(said.contains(word), "{from} → {to}: {said}");
        }
    }
}
