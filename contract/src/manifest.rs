//! `module.toml`: every statement a module may ever run, and what the host must know to take it back.
//!
//! [`Manifest::parse`] is the only way in: it refuses what it does not know, and what contradicts itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The version of this schema.
pub const FORMAT: u32 = 1;

/// A module's manifest: its whole authority.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the schema: 1.
    pub format: u32,
    /// Lower case letters, digits and `-`.
    pub name: String,
    /// `major.minor.patch`.
    pub version: String,
    /// Rises with every release; an older one is not installed over a newer one.
    pub sequence: u64,
    /// The last day on which the module may be used, `YYYY-MM-DD`.
    pub expires: Option<String>,
    /// One line for people.
    pub summary: String,
    /// The `workload_name`s it serves.
    pub workloads: Vec<String>,
    /// The WIT world it was built for.
    pub world: String,
    /// The kinds of snapshot under which what it freezes is consistent.
    pub snapshots: Vec<Snapshot>,
    /// The database's own client program.
    pub client: Client,
    /// How to tell one running server from another. Without it a restart is known by the boot id alone.
    pub identity: Option<Identity>,
    /// Where the data lies, and whether the database itself makes each commit durable.
    pub data: Data,
    /// The client sessions, opened in prepare and kept to the thaw.
    pub sessions: BTreeMap<String, Session>,
    /// Every statement the module may ever run.
    pub statements: BTreeMap<String, Statement>,
    /// Upper bounds.
    #[serde(default)]
    pub limits: Limits,
    /// Appended by packaging.
    pub wasm: Option<Wasm>,
}

/// What the agent does while the databases stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Snapshot {
    /// All volumes at one instant.
    Atomic,
    /// Each volume at an instant of its own.
    PerVolume,
    /// A copy of files, one after the other.
    Files,
}

/// The client program, and how to talk to it over pipes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// One process for the whole cycle, or one for each statement.
    pub mode: Mode,
    /// Names of the program; the first that is found is used.
    pub programs: Vec<String>,
    /// How the credential reaches it. Without: it needs none.
    pub login: Option<Login>,
    /// Fixed arguments, after the login. `{database}` stands for the database of a session with `each = "database"`.
    pub arguments: Vec<String>,
    /// Sent after each statement, then a line break.
    pub end: String,
    /// The statement that prints `{tag}` on a line of its own, bare or in single quotes: the end of an answer.
    pub tag: String,
    /// How it prints rows.
    pub rows: Rows,
    /// A line of standard error that is the database's error: a regular expression with the group `message`, and
    /// where they exist `code` and `state`.
    pub error: String,
    /// Codes of errors after which the session is gone and no tag will come.
    #[serde(default)]
    pub lost: Vec<String>,
    /// The character that quotes an identifier, doubled inside. Text is always quoted with `'`, bytes as `X'…'`.
    pub identifier_quote: char,
}

/// Whether a session is one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Kept open from prepare to thaw: the session is the lock.
    Session,
    /// One process for each statement.
    Command,
}

/// How the credential reaches the client.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The first argument; `{login}` stands for the path of the sealed descriptor.
    pub argument: String,
    /// What is written there.
    pub format: LoginFormat,
}

/// The format of the file that holds the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginFormat {
    /// The option file of MySQL's family, group `[client]`.
    OptionFile,
}

/// How the client prints rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// `mariadb --batch`: tabs between, `\t \n \\ \0` escaped. NULL cannot be told from `NULL`.
    TabSeparated,
    /// `sqlite3 -quote`: SQL literals with commas between. Exact.
    Quoted,
}

/// How to tell one running server from another.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// A `read` statement whose one row differs after every restart of the server.
    pub statement: String,
}

/// Where the data lies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// A `read` statement whose first column holds paths of folders or files, one for each row.
    /// Without: the databases of the sessions are the paths.
    pub paths: Option<String>,
    /// What proves that each acknowledged commit is on disk already. Without, or with another answer, the host syncs
    /// the filesystems again before it says "frozen".
    pub durable: Option<Answer>,
}

/// A `read` statement and the answer expected: the first column of its only row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// A `read` statement without parameters.
    pub statement: String,
    /// What it must answer.
    pub answer: Expected,
}

/// What an answer is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// The same as just after the freeze was taken.
    Unchanged,
    /// This integer.
    Integer(i64),
    /// This text.
    Text(String),
}

/// One session of the client.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The `read` statement, run here, whose one value names this session to the server.
    pub id: Option<String>,
    /// The `cancel` statement, run in another session, that ends this one.
    pub cancel: Option<String>,
    /// Opened once for each name in `dbnames`.
    pub each: Option<Each>,
}

/// What a session is opened once for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Each {
    /// For each name in `dbnames`.
    Database,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The session that runs it.
    pub session: String,
    /// One statement, on one line, without its end. `{name}` stands for a parameter.
    pub text: String,
    /// The parameters by name.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// The columns of its rows, in order. Without: it gives no rows.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// What it does to the database.
    pub effect: Effect,
    /// For `freeze`: what it stops.
    pub stops: Option<Stops>,
    /// For `freeze`: how long that lasts.
    pub lasts: Option<Lasts>,
    /// For `freeze`: what takes it back.
    pub undo: Option<Undo>,
    /// For `freeze`: the proof that it still holds.
    pub holds: Option<Answer>,
    /// For `freeze` that does not stop writes: while it holds, a copy is made whole by the database's own recovery.
    /// Without it, such a freeze alone gives no application-consistent snapshot.
    #[serde(default)]
    pub recoverable: bool,
}

/// What a statement does to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Touches only our own session.
    Session,
    /// Changes something that needs no undo.
    Change,
    /// Has an undo.
    Freeze,
    /// Takes back a freeze.
    Undo,
    /// Ends another session of ours. Only the host runs it.
    Cancel,
}

/// What a freezing statement stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stops {
    /// Nothing that an application would notice.
    Nothing,
    /// Changes of the schema.
    Ddl,
    /// Writes.
    Writes,
}

/// How long a freeze lasts when nobody undoes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lasts {
    /// As long as the client's session.
    Session,
    /// The server ends it after a time that the statement names.
    Expires,
    /// In the server's memory, until it restarts.
    Server,
    /// On disk, and inside the snapshot.
    Disk,
}

/// What takes a freeze back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// The `undo` statement.
    pub statement: String,
    /// Its arguments by parameter.
    #[serde(default)]
    pub arguments: BTreeMap<String, UndoArgument>,
}

/// Where an argument of an undo comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UndoArgument {
    /// The first column of the only row of this `read` statement, asked by the host just before the freeze.
    Previous(String),
    /// The same argument as the freezing statement's parameter of this name.
    Argument(String),
}

/// One parameter of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Parameter {
    /// A whole number in a range.
    Integer {
        /// The smallest allowed.
        from: i64,
        /// The largest allowed.
        to: i64,
    },
    /// Text, quoted by the host. Backslashes, control characters and NUL are refused.
    Text {
        /// The most bytes allowed.
        most: u32,
    },
    /// Bytes, sent as `X'…'`.
    Bytes {
        /// The most bytes allowed.
        most: u32,
    },
    /// A name, quoted by the host.
    Identifier,
    /// The id of the session that is to be cancelled: bound by the host.
    Session,
}

/// One column of a statement's rows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name in the SDK.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: ColumnKind,
    /// How the statement encodes it. Where the client's output is not exact, nullable text and bytes need `hex`.
    pub encoding: Option<Encoding>,
    /// Whether it can be NULL.
    #[serde(default)]
    pub nullable: bool,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnKind {
    /// A whole number of 64 bits.
    Integer,
    /// UTF-8.
    Text,
    /// Any bytes.
    Bytes,
}

/// How a statement encodes a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Hexadecimal digits, as SQL's `HEX()` gives them.
    Hex,
}

/// Upper bounds: the host has ceilings of its own ([`Limits::bounded`]), and the lower one holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Linear memory of the module, in MiB.
    pub memory_mib: u32,
    /// The longest that check may take, and prepare, in seconds.
    pub prepare_seconds: u32,
    /// Rows of one answer.
    pub rows: u32,
    /// Bytes of one answer, in KiB.
    pub answer_kib: u32,
    /// All state files together, in KiB.
    pub state_kib: u32,
    /// Events in one cycle.
    pub events: u32,
    /// Log lines in one cycle.
    pub log_lines: u32,
}

impl Limits {
    /// Never above what the host allows any module.
    #[must_use]
    pub fn bounded(&self) -> Limits {
        Limits {
            memory_mib: self.memory_mib.min(256),
            prepare_seconds: self.prepare_seconds.min(3600),
            rows: self.rows.min(100_000),
            answer_kib: self.answer_kib.min(16 * 1024),
            state_kib: self.state_kib.min(1024),
            events: self.events.min(200),
            log_lines: self.log_lines.min(2000),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_mib: 16,
            prepare_seconds: 300,
            rows: 10_000,
            answer_kib: 1024,
            state_kib: 1024,
            events: 20,
            log_lines: 200,
        }
    }
}

/// The component that the manifest speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Wasm {
    /// SHA-256 of `module.wasm`, 64 hexadecimal digits.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// What built it: the same source and compiler give the same bytes.
    pub compiler: String,
}

/// Why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not TOML of this schema. The text carries line and column.
    #[error("{0}")]
    Syntax(String),
    /// It contradicts itself: everything that was found.
    #[error("{}", .0.join("\n"))]
    Rules(Vec<String>),
}

impl Manifest {
    /// Reads a manifest, and refuses one that contradicts itself.
    ///
    /// # Errors
    /// [`Refused`]: all contradictions at once, in words for the author.
    pub fn parse(text: &str) -> Result<Manifest, Refused> {
        let manifest: Manifest = toml::from_str(text).map_err(|e| Refused::Syntax(e.to_string()))?;
        let problems = manifest.problems();
        if problems.is_empty() { Ok(manifest) } else { Err(Refused::Rules(problems)) }
    }

    /// The statements that freeze, by name.
    pub fn freezes(&self) -> impl Iterator<Item = (&String, &Statement)> {
        self.statements.iter().filter(|(_, s)| s.effect == Effect::Freeze)
    }

    fn problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut say = |text: String| out.push(text);
        if self.format != FORMAT {
            say(format!("format = {} is not known; this build reads format = {FORMAT}", self.format));
        }
        if !is_name(&self.name, '-') {
            say(format!("name = \"{}\" must be 1 to 64 of a-z, 0-9 and -, and begin with a letter", self.name));
        }
        if self.version.split('.').count() != 3 || self.version.split('.').any(|p| p.parse::<u32>().is_err()) {
            say(format!("version = \"{}\" must be major.minor.patch", self.version));
        }
        if self.world != crate::WORLD {
            say(format!("world = \"{}\" is not offered; this build offers \"{}\"", self.world, crate::WORLD));
        }
        if self.workloads.is_empty() {
            say("workloads must name at least one workload_name".into());
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
        if self.client.login.as_ref().is_some_and(|l| !l.argument.contains("{login}")) {
            say("[client] login argument must contain {login}".into());
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
            out.extend(self.read_problem("[identity] statement", &identity.statement, None));
        }
        if let Some(paths) = &self.data.paths {
            out.extend(self.read_problem("[data] paths", paths, None));
        } else if !self.sessions.values().any(|s| s.each.is_some()) {
            out.push("[data] paths is needed where no session is opened for each database".into());
        }
        if let Some(durable) = &self.data.durable {
            out.extend(self.read_problem("[data] durable", &durable.statement, None));
            if durable.answer == Expected::Unchanged {
                out.push("[data] durable must name the answer itself".into());
            }
        }
        if let Some(wasm) = &self.wasm
            && (wasm.sha256.len() != 64
                || !wasm.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
        {
            out.push("[wasm] sha256 must be 64 hexadecimal digits in lower case".into());
        }
        out
    }

    /// Whether sessions of this name are opened once for each database.
    fn each(&self, session: &str) -> Option<Each> {
        self.sessions.get(session).and_then(|s| s.each)
    }

    /// A statement that the host asks by itself, in a session that is opened `each`.
    fn read_problem(&self, place: &str, name: &str, each: Option<Each>) -> Option<String> {
        match self.statements.get(name) {
            Some(s) if self.each(&s.session) != each => Some(format!(
                "{place} = \"{name}\" must run in a session of the right kind: opened {}",
                match each {
                    None => "once, not for each database",
                    Some(Each::Database) => "for each database",
                }
            )),
            Some(s) if s.effect == Effect::Read && s.parameters.is_empty() && !s.columns.is_empty() => None,
            Some(_) => Some(format!("{place} = \"{name}\" must be a read without parameters that has a column")),
            None => Some(format!("{place} = \"{name}\" is not declared under [statements]")),
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
        // What begins with a backslash or a dot is a command of the client, which might run a shell.
        if !statement.text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            out.push("text begins with a letter: it is a statement, and no command of the client".into());
        }
        if statement.text.contains(['\n', '\r', '\0'])
            || (!self.client.end.is_empty() && statement.text.contains(self.client.end.as_str()))
        {
            out.push(format!("text is one statement on one line, without \"{}\"", self.client.end));
        }
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
            let exact =
                self.client.rows == Rows::Quoted || column.kind == ColumnKind::Integer || column.encoding.is_some();
            if !exact && column.nullable {
                out.push(format!("column {}: this client prints NULL like the text NULL; take HEX() of it and declare encoding = \"hex\"", column.name));
            }
            if !exact && column.kind == ColumnKind::Bytes {
                out.push(format!("column {}: this client does not print bytes exactly; take HEX() of it and declare encoding = \"hex\"", column.name));
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
            || statement.holds.is_some()
            || statement.recoverable
        {
            out.push("stops, lasts, undo, holds and recoverable belong to effect = \"freeze\" alone".into());
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
                    for argument in undo.arguments.values() {
                        match argument {
                            UndoArgument::Previous(read) => {
                                out.extend(self.read_problem("previous", read, self.each(&statement.session)))
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
        match &statement.holds {
            None => out.push("a freeze needs holds: the statement whose answer proves that it still holds".into()),
            Some(holds) => out.extend(self.read_problem("holds", &holds.statement, self.each(&statement.session))),
        }
        out
    }
}

/// The names of the `{placeholders}` of a statement's text, in order; one that stands twice is given twice.
///
/// # Errors
/// In words: a brace without its partner, an empty name, or a place in which an argument could become a part of what
/// stands beside it: within quotes, after a comment, or without a space.
pub fn placeholders(text: &str) -> Result<Vec<&str>, String> {
    let mut out = Vec::new();
    let mut rest = text;
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
        outside_of_quotes(before).map_err(|why| format!("{{{name}}} {why}"))?;
    }
    Ok(out)
}

/// Whether what follows this text stands outside of quotes and comments, however a database reads it: a host that
/// quotes an argument once more would let it out.
fn outside_of_quotes(text: &str) -> Result<(), &'static str> {
    let mut quote = None;
    let mut last = ' ';
    for c in text.chars() {
        match (quote, c) {
            (_, '\\') => return Err("stands after a backslash, which not every database reads alike"),
            (Some('`'), '\'' | '"') => {
                return Err("stands after a quote within ``, which not every database reads alike");
            }
            (None, '\'' | '"' | '`') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None | Some('`'), '#' | '[') => return Err("stands after # or [, which not every database reads alike"),
            (None | Some('`'), '$') if !last.is_alphanumeric() && last != '_' => {
                return Err("stands after a text in dollars, which not every database reads alike");
            }
            (None | Some('`'), '-') if last == '-' => return Err("stands after a comment"),
            (None | Some('`'), '*') if last == '/' => return Err("stands after a comment"),
            _ => {}
        }
        last = c;
    }
    if quote.is_none() { Ok(()) } else { Err("stands within quotes: the host quotes it") }
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

    #[test]
    fn contradictions_are_refused_in_words() {
        for (from, to, word) in [
            ("format = 1", "format = 2", "not known"),
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
            ("[sessions.main]\n", "[sessions.main]\neach = \"database\"\n", "session of the right kind"),
            ("stops = \"writes\"\n", "stops = \"writes\"\nrecoverable = true\n", "does not stop writes"),
            ("world = \"stillpoint:workload/module@0.1.0\"", "world = \"other\"", "not offered"),
        ] {
            let said = refused(from, to);
            assert!(said.contains(word), "{from} → {to}: {said}");
        }
    }
}
