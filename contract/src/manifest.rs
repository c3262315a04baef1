//! `module.toml`: every statement a module may ever run, and what the host must know to take it back.
//!
//! [`Manifest::parse`] is the only way in: it refuses what it does not know, and what contradicts itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::message::Value;

mod recovery;
mod rules;

pub use recovery::{NAMES, Piece, Recovery, Route, Step, pieces, stand_outside_of_quotes};
pub use rules::{argument_order, is_hidden, placeholders};

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
    /// Who wrote it, as reviewers are named: whoever stands here does not count as a reviewer.
    pub authors: Vec<String>,
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
    /// What a login needs in the database. Without: the database has no logins, or its module says nothing of them.
    pub privileges: Option<Privileges>,
    /// How to tell a replica from a primary. Without: the database has no replicas, or its module cannot tell.
    pub role: Option<Role>,
    /// The logs with which a snapshot is rolled forward. Without: there are none.
    pub logs: Option<Logs>,
    /// How a snapshot becomes a running database again.
    pub recovery: Option<Recovery>,
    /// That it was never tried on a real server, and on what it was instead: stands beside every verdict.
    pub untried: Option<String>,
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
    /// Variables of its environment, beside the few that every client has: `{instance}` and `{home}` stand for those of the
    /// workload, as its configuration or the oratab that it names says.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Lines that are sent first of all in each session, after the login: settings of the client's own.
    #[serde(default)]
    pub setup: Vec<String>,
    /// Sent after each statement, then a line break.
    pub end: String,
    /// The statement that prints `{tag}` on a line of its own, bare or in single quotes: the end of an answer.
    pub tag: String,
    /// How it prints rows.
    pub rows: Rows,
    /// A line that is the database's error: a regular expression with the group `message`, and
    /// where they exist `code` and `state`. Without `message` the lines that follow are the message, to the next error.
    pub error: String,
    /// Where such lines are printed.
    #[serde(default)]
    pub errors: Printed,
    /// Codes of errors after which the session is gone and no tag will come.
    #[serde(default)]
    pub lost: Vec<String>,
    /// Sent first of all in each session: from then on the server itself refuses what changes data. Only where it has
    /// transactions that are read-only for real.
    pub read_only: Option<String>,
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
    /// The first argument; what `{login}` stands for, the format says.
    pub argument: String,
    /// What is written there.
    pub format: LoginFormat,
}

/// Where a client prints its errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Printed {
    /// On standard error.
    #[default]
    StandardError,
    /// Among the rows, on lines of their own: a row that looks like an error counts as one.
    StandardOutput,
}

/// The format of the file that holds the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginFormat {
    /// The option file of MySQL's family, group `[client]`. `{login}` is the path of the sealed descriptor.
    OptionFile,
    /// libpq's: `{login}` is the words of a connection (host, port, user, database, UTF-8, no schema but the server's
    /// own), which name the sealed descriptor as the password file.
    PassFile,
    /// SQL*Plus': the client starts without a login (`/nolog`), and reads `CONNECT …` as its first line. There is no
    /// `{login}`.
    ConnectLine,
    /// `isql-fb`'s: `{login}` is two to four arguments, the user and the sealed descriptor as the file of the password;
    /// `{database}` begins with the server, `inet://HOST:PORT/`, `localhost` where the login names none.
    FetchPassword,
    /// `redis-cli`'s: `{login}` is several arguments (socket or host and port, user, and `--askpass` where there is a
    /// password). The password is the first line of its standard input.
    AskPass,
}

/// How the client prints rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// `mariadb --batch`: tabs between, `\t \n \\ \0` escaped. NULL cannot be told from `NULL`.
    TabSeparated,
    /// `psql --csv --tuples-only --pset=null=NULL`: commas between, in double quotes what needs them. NULL cannot be told
    /// from `NULL`.
    Csv,
    /// `sqlite3 -quote`: SQL literals with commas between. Exact.
    Quoted,
    /// `sqlplus`, after `SET MARKUP CSV ON QUOTE ON`: text in double quotes, numbers bare, commas between, nothing for
    /// NULL. Empty lines between rows are none, and a statement that has no columns may say in words that it was done.
    QuotedCsv,
    /// `isql-fb`: a name and a value on each line, by `SET LIST ON`, which the host sends first. Text could forge lines,
    /// so a column is a number or hexadecimal, as a cast to `CHARACTER SET OCTETS` prints it. The host sends `COMMIT` after
    /// each statement: answers about the server do not change within a transaction.
    List,
    /// `redis-cli -2 --json`: one reply. Of the lines `name:value` that `INFO` gives one row is made, its columns found by
    /// name, NULL where the server has no such line; a number, a text or `null` is one row of one column. Errors stand
    /// among the replies, so lines of standard output are looked at with `error` as well. Such a client splits words by
    /// rules of its own: parameters are whole numbers and identifiers, which are sent as they are.
    Reply,
}

/// The least that a login must be allowed, as the database's administrator grants it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Privileges {
    /// The statements that make such a login, for an administrator to run; the module never does. `{user}` stands for
    /// the user's name, quoted as text, `{role}` for the same, quoted as an identifier.
    pub make: Vec<String>,
    /// Each privilege that is needed, as `held` names it.
    pub needed: BTreeMap<String, Needed>,
    /// Privileges that are no excess: what every login has, and what does no harm.
    #[serde(default)]
    pub usual: Vec<String>,
    /// A `read` statement that asks what the login may do: the first column names one privilege in each row, a second
    /// one, where it is not NULL, a role whose privileges cannot be seen.
    pub held: Option<String>,
}

/// One privilege that a login needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Needed {
    /// What for, or what is missing without it.
    pub why: String,
    /// Whether nothing can be frozen without it.
    #[serde(default)]
    pub must: bool,
    /// What older servers call it.
    pub before: Option<String>,
}

/// How to tell one running server from another.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// A `read` statement whose one row differs after every restart of the server.
    pub statement: String,
}

/// How to tell a replica from a primary.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// A `read` statement; the first column of its only row tells.
    pub statement: String,
    /// What it answers on a replica.
    pub replica: Expected,
}

/// The logs with which a snapshot is rolled forward. The host asks, and copies the files; no module code has a part in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// A `read` statement with one text: whose logs they are, as a name for a folder. Another server's are never mixed in.
    pub series: String,
    /// A `change` that closes the log which is written, so that it can be copied. `log-backup` sends it, but not on a replica;
    /// a module may in prepare.
    pub rotate: Option<String>,
    /// A `read` statement whose first column names the logs, the oldest first. Without: the database hands each log to
    /// `stillpoint log-backup` itself, and `rotate` answers with the name of the one that it has closed. A log's own name is of
    /// ASCII letters, digits, `.`, `-` and `_`, at most 200, and does not begin with a dot: any other is refused.
    pub list: Option<String>,
    /// A `read` statement with one text: the folder of the names. Without: the names are whole paths.
    pub folder: Option<String>,
    /// Whether the last that is listed is still written to.
    #[serde(default)]
    pub last_is_open: bool,
}

/// Where the data lies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// A `read` statement whose first column holds paths of folders or files, one for each row; the first is the data
    /// folder itself.
    /// Without, and without `process`: the databases of the sessions are the paths.
    pub paths: Option<String>,
    /// Instead: the data lies in the working folder of the server's own process, which the host looks up.
    pub process: Option<Process>,
    /// What proves that each acknowledged commit is on disk already. Without, or with another answer, the host syncs
    /// the filesystems again before it says "frozen".
    pub durable: Option<Answer>,
    /// When the database cannot be held at all. Where it cannot, a snapshot may be taken all the same, and is
    /// crash-consistent.
    pub unheld: Option<Unheld>,
}

/// States of a database in which its module freezes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Unheld {
    /// A `read` statement that names the state, in the first column of its only row.
    pub statement: String,
    /// For each state in which nothing can be held, why not: the verdict's reason. Any other state is held.
    pub states: BTreeMap<String, String>,
}

/// The process of a server that keeps its data in its working folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// A `read` statement whose one value is the number of the server's process.
    pub statement: String,
    /// What the kernel may call that process: a number means another process in another container.
    pub named: Vec<String>,
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
    /// The same as just after the freeze was taken, in all columns.
    Unchanged,
    /// This integer.
    Integer(i64),
    /// This text.
    Text(String),
}

impl Statement {
    /// The proofs that it still holds: one of them suffices.
    pub fn proofs(&self) -> impl Iterator<Item = &Answer> {
        self.holds.iter().chain(&self.or_holds)
    }
}

impl Expected {
    /// The value, where the manifest names it.
    pub fn value(&self) -> Option<Value> {
        match self {
            Expected::Unchanged => None,
            Expected::Integer(n) => Some(Value::Integer(*n)),
            Expected::Text(text) => Some(Value::Text(text.clone())),
        }
    }

    /// The kind of the value, where the manifest names it.
    fn kind(&self) -> Option<ColumnKind> {
        match self {
            Expected::Unchanged => None,
            Expected::Integer(_) => Some(ColumnKind::Integer),
            Expected::Text(_) => Some(ColumnKind::Text),
        }
    }
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
    /// For `freeze`: another proof, which suffices where the first fails. Each must be a proof by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub or_holds: Option<Answer>,
    /// For `freeze`: words of the database's error that say that somebody else has frozen it already. Then nothing of ours
    /// stands, and nothing is taken back.
    pub foreign: Option<String>,
    /// For `freeze` that does not stop writes: while it holds, a copy is made whole by the database's own recovery.
    /// Without it, such a freeze alone gives no application-consistent snapshot.
    #[serde(default)]
    pub recoverable: bool,
    /// For `freeze`: the kinds of snapshot under which it makes a copy consistent. Without: all that the module names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<Snapshot>,
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
    /// Has the server write to disk what it holds, and changes nothing else. Also while writers wait.
    Flush,
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
    /// Codes of errors that say that there is nothing to take back.
    #[serde(default)]
    pub nothing: Vec<String>,
    /// What a person must know who cannot have it sent, because the server is down.
    pub by_hand: Option<String>,
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
    /// The name of a state file: the host makes it the whole path in the workload's `ipc_folder`, and quotes it. The
    /// database itself writes the file.
    StateFile,
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
    /// What it answers in thaw goes into the cycle's record by the column's name: it exists only after the snapshot.
    #[serde(default)]
    pub keep: bool,
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
    /// The longest that the module's own thaw may take, in seconds.
    pub thaw_seconds: u32,
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
            thaw_seconds: self.thaw_seconds.min(15),
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
            thaw_seconds: 2,
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
    /// The interfaces of the world that it imports, in order: it is given no other.
    pub imports: Vec<Interface>,
}

/// An interface that a module can import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// Run a declared statement.
    Database,
    /// Small named files in `ipc_folder`.
    State,
    /// The messaging channel.
    Events,
    /// Lines in the cycle's record.
    Log,
    /// The time, and how much of the phase is left.
    Clock,
}

impl Interface {
    /// All that there are.
    pub const ALL: [Interface; 5] =
        [Interface::Database, Interface::State, Interface::Events, Interface::Log, Interface::Clock];

    /// Its name in the world.
    pub fn name(self) -> &'static str {
        match self {
            Interface::Database => "database",
            Interface::State => "state",
            Interface::Events => "events",
            Interface::Log => "log",
            Interface::Clock => "clock",
        }
    }
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
        if let Some(line) = rules::odd_line(text) {
            return Err(Refused::Syntax(format!("line {line} holds a character that is not seen")));
        }
        let manifest: Manifest = toml::from_str(text).map_err(|e| Refused::Syntax(e.to_string()))?;
        let mut problems = manifest.problems();
        if let Ok(value) = toml::Value::try_from(&manifest) {
            rules::odd_characters("", &value, &mut problems);
        }
        if problems.is_empty() { Ok(manifest) } else { Err(Refused::Rules(problems)) }
    }

    /// The statements that freeze, by name.
    pub fn freezes(&self) -> impl Iterator<Item = (&String, &Statement)> {
        self.statements.iter().filter(|(_, s)| s.effect == Effect::Freeze)
    }
}
