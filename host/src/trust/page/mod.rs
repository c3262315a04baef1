//! The authority page: all that a module may ever do, on one page. What its author declared and what this build checked
//! stand apart. Everything on it is computed from the manifest's bytes and from what this machine trusts.

mod html;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;
use stillpoint_contract::Manifest;
use stillpoint_contract::manifest::{
    self, Answer, Column, ColumnKind, Effect, Expected, Interface, Lasts, Limits, LoginFormat, Mode, Needed, Parameter,
    Printed, Privileges, Recovery, Rows, Snapshot, Step, Stops, UndoArgument,
};

use super::dialect::{self, Dialect};
use super::finding::{Finding, Severity, findings};

/// How a module stands on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Whose signatures count here. `None`: this machine trusts nobody yet.
    pub root: Option<Root>,
    /// Each file of signatures, in the order of their names.
    pub signatures: Vec<Signature>,
    /// How many distinct reviewers must have signed.
    pub reviewers_needed: u32,
    /// How many have, and count.
    pub reviewers: u32,
    /// The role that one of them must have, and whether one has it.
    pub role: Option<Role>,
    /// An older sequence than this is not installed.
    pub floor: Option<u64>,
    /// Whether its last day is over.
    pub expired: bool,
    /// Who revoked it and why.
    pub revoked: Option<String>,
    /// Whether an administrator has accepted this authority. `None`: nobody looked, or grants are not asked for.
    pub granted: Option<bool>,
    /// The first reason for which it would not be run here.
    pub problem: Option<Problem>,
}

/// A root of trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Root {
    /// Its name.
    pub name: String,
    /// Its keys are throwaway keys.
    pub development: bool,
}

/// What is known of one file of signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// The file's name.
    pub file: String,
    /// Whose key it is, where the key is known.
    pub principal: Option<String>,
    /// The key, as `ssh-keygen -l` prints it.
    pub fingerprint: Option<String>,
    /// Why it does not count; `None` when it does.
    pub why_not: Option<String>,
}

/// A role that one of the reviewers must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Whether one of those who count has it.
    pub met: bool,
}

/// Why it would not be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable: `SP-TRUST-004`.
    pub id: String,
    /// What is wrong.
    pub words: String,
}

/// The page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Version of this form.
    pub format: u32,
    /// Its name.
    pub name: String,
    /// `major.minor.patch`.
    pub version: String,
    /// Rises with every release.
    pub sequence: u64,
    /// Its last day.
    pub expires: Option<String>,
    /// One line by its author.
    pub summary: String,
    /// Who wrote it.
    pub authors: Vec<String>,
    /// Of the bytes that are signed.
    pub manifest_sha256: Option<String>,
    /// `None`: it was not packaged.
    pub component: Option<Component>,
    /// `None`: nobody looked.
    pub standing: Option<Standing>,
    /// The `workload_name`s it serves.
    pub workloads: Vec<String>,
    /// The WIT world it was built for.
    pub world: String,
    /// Under which kinds of snapshot it is consistent.
    pub snapshots: Vec<Snapshot>,
    /// The database's client.
    pub client: Client,
    /// By name.
    pub sessions: Vec<Session>,
    /// By name: all that it can ever run.
    pub statements: Vec<Statement>,
    /// What people are to run to recover. The host prints it, and runs none of it.
    pub recovery: Vec<Recipe>,
    /// How logs are followed there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub follows: Vec<String>,
    /// That it was never tried on a real server.
    pub untried: Option<String>,
    /// Statements whose answers the host believes.
    pub believed: Vec<Believed>,
    /// How a log is closed, and whether the last is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
    /// What a login needs.
    pub privileges: Option<Privileges>,
    /// As they will hold: never above the host's own.
    pub limits: Limits,
    /// What it cannot do.
    pub cannot: Vec<String>,
    /// What is the author's word, and what this build looked at.
    pub trusted: Trusted,
    /// The worst first.
    pub findings: Vec<Finding>,
}

/// The component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component {
    /// Of `module.wasm`.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
    /// What built it.
    pub compiler: String,
    /// All that it is given.
    pub imports: Vec<Interface>,
}

/// The database's client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    /// The first that is found is used.
    pub programs: Vec<String>,
    /// One process for each session, or for each statement.
    pub mode: Mode,
    /// All, in order: the login first.
    pub arguments: Vec<String>,
    /// Sent after each statement.
    pub end: String,
    /// Sent after that: marks the end of the answer.
    pub tag: String,
    /// What the host sends beside that, to be able to read this client's rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<&'static str>,
    /// How it prints rows.
    pub rows: Rows,
    /// What a line of an error looks like.
    pub error: String,
    /// Where such lines are.
    pub errors: Printed,
    /// Errors after which the session is gone.
    pub lost: Vec<String>,
    /// Sent before the first statement: from then on the server refuses what changes data.
    pub read_only: Option<String>,
    /// Variables of its environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Sent after the login, before all else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub setup: Vec<String>,
    /// How it logs in.
    pub login: Option<LoginFormat>,
    /// What quotes a name.
    pub identifier_quote: char,
    /// The language that this build reads its statements as.
    pub dialect: &'static str,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Its name.
    pub name: String,
    /// Opened once for each database.
    pub each: bool,
    /// The statement that names it.
    pub id: Option<String>,
    /// The statement that ends it.
    pub cancel: Option<String>,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub session: String,
    /// All of it.
    pub text: String,
    /// Each parameter, and what it may be.
    pub parameters: BTreeMap<String, String>,
    /// Each column of its rows: its name, what it holds, and whether that is kept in the record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    /// By the author.
    pub effect: Effect,
    /// By the author: what it stops.
    pub stops: Option<Stops>,
    /// By the author: how long.
    pub lasts: Option<Lasts>,
    /// By the author: a copy made meanwhile is made whole by recovery.
    pub recoverable: bool,
    /// By the author: the kinds of snapshot under which it counts, where those are not all of the module's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<Snapshot>,
    /// What takes it back.
    pub undo: Option<Undo>,
    /// The database's words for one that is somebody else's, and not taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<String>,
    /// What proves that it holds: one of them.
    pub proofs: Vec<Proof>,
    /// By this build.
    pub checked: Checked,
}

/// What takes a freeze back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undo {
    /// Its name.
    pub statement: String,
    /// All of it.
    pub text: String,
    /// Each parameter, and where its value comes from.
    pub arguments: BTreeMap<String, String>,
    /// Errors after which it counts as done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nothing: Vec<String>,
    /// What a person is told who cannot have it sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<String>,
}

/// What proves that a freeze still holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Its name.
    pub statement: String,
    /// All of it.
    pub text: String,
    /// What it must answer.
    pub answer: String,
}

/// One step of the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// On which routes, and when.
    pub when: String,
    /// What it does.
    pub say: String,
    /// The command.
    pub run: Option<String>,
}

/// A statement whose answer the host believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Believed {
    /// What it is believed about.
    pub what: String,
    /// Its name.
    pub statement: String,
    /// What it must answer.
    pub answer: Option<String>,
}

/// What this build made of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checked {
    /// It is what it is declared to be, as far as this build can see.
    AsDeclared,
    /// This build cannot say.
    Unknown,
    /// Something speaks against it.
    Doubted,
}

/// What is the author's word, and what this build looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trusted {
    /// By the author alone.
    pub declared: Vec<String>,
    /// By this build.
    pub checked: Vec<String>,
    /// By nobody: what this page cannot show.
    pub unseen: Vec<String>,
}

impl Page {
    /// The page of a manifest: of nothing but what is given here. Without a standing it is the authority alone, the same
    /// wherever and whenever it is built.
    pub fn of(manifest: &Manifest, manifest_sha256: Option<&str>, standing: Option<&Standing>) -> Page {
        let findings = findings(manifest);
        let client = &manifest.client;
        let component = manifest.wasm.as_ref().map(|wasm| Component {
            sha256: wasm.sha256.clone(),
            size: wasm.size,
            compiler: wasm.compiler.clone(),
            imports: wasm.imports.clone(),
        });
        let statements: Vec<Statement> =
            manifest.statements.keys().filter_map(|name| statement(manifest, name, &findings)).collect();
        Page {
            format: 1,
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sequence: manifest.sequence,
            expires: manifest.expires.clone(),
            summary: manifest.summary.clone(),
            authors: manifest.authors.clone(),
            manifest_sha256: manifest_sha256.map(str::to_owned),
            component,
            standing: standing.cloned(),
            workloads: manifest.workloads.clone(),
            world: manifest.world.clone(),
            snapshots: manifest.snapshots.clone(),
            client: Client {
                programs: client.programs.clone(),
                mode: client.mode,
                arguments: client.login.iter().map(|l| &l.argument).chain(&client.arguments).cloned().collect(),
                end: client.end.clone(),
                tag: client.tag.clone(),
                more: (client.rows == Rows::List).then_some("SET LIST ON before the first; COMMIT behind each"),
                rows: client.rows,
                error: client.error.clone(),
                errors: client.errors,
                lost: client.lost.clone(),
                read_only: client.read_only.clone(),
                environment: client.environment.clone(),
                setup: client.setup.clone(),
                login: client.login.as_ref().map(|l| l.format),
                identifier_quote: client.identifier_quote,
                dialect: Dialect::of(client).name(),
            },
            sessions: manifest
                .sessions
                .iter()
                .map(|(name, s)| Session {
                    name: name.clone(),
                    each: s.each.is_some(),
                    id: s.id.clone(),
                    cancel: s.cancel.clone(),
                })
                .collect(),
            recovery: manifest.recovery.iter().flat_map(|r| &r.steps).map(recipe).collect(),
            follows: manifest.recovery.as_ref().map(follows).unwrap_or_default(),
            untried: manifest.untried.clone(),
            believed: believed(manifest),
            logs: manifest.logs.as_ref().map(logs).unwrap_or_default(),
            privileges: manifest.privileges.clone(),
            limits: manifest.limits.bounded(),
            cannot: cannot(manifest),
            trusted: trusted(manifest, &statements),
            statements,
            findings,
        }
    }

    /// For a terminal, a file, a review: 110 columns, and nothing that draws.
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// One file without scripts, for a browser or a printer.
    pub fn html(&self) -> String {
        html::html(self)
    }

    /// Its last day.
    fn expiry(&self) -> String {
        match (&self.expires, self.standing.as_ref().is_some_and(|s| s.expired)) {
            (None, _) => "never".into(),
            (Some(day), false) => format!("after {day}"),
            (Some(day), true) => format!("after {day}: THAT IS OVER"),
        }
    }

    /// How many findings are of this severity.
    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }

    /// The statements of one effect, in the order of their names.
    fn with(&self, effect: Effect) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(move |s| s.effect == effect)
    }

    /// What must be seen before anything else.
    fn warnings(&self) -> Vec<String> {
        let mut out: Vec<String> = self.untried.iter().map(|on| format!("UNTRIED ON A REAL SERVER: {on}")).collect();
        let Some(standing) = &self.standing else { return out };
        if let Some(root) = standing.root.as_ref().filter(|r| r.development) {
            out.push(format!(
                "DEVELOPMENT: the trust root \"{}\" has throwaway keys, and whoever built this has them. Not for real data.",
                root.name
            ));
        }
        if self.component.is_none() {
            out.push("NOT PACKAGED: there is no component yet, and so nothing to sign.".into());
        }
        if let Some(revoked) = &standing.revoked {
            out.push(format!("REVOKED: {revoked}"));
        }
        if let Some(problem) = &standing.problem {
            out.push(format!("WOULD NOT RUN HERE: {}   {}", problem.words, problem.id));
        }
        out
    }

    /// Who signed, line by line.
    fn signatures(&self) -> Vec<String> {
        let Some(standing) = &self.standing else { return Vec::new() };
        let mut out: Vec<String> = Vec::new();
        for signature in &standing.signatures {
            let who = signature.principal.as_deref().unwrap_or(&signature.file);
            let key = signature.fingerprint.as_ref().map(|key| format!("  {key}")).unwrap_or_default();
            out.push(match &signature.why_not {
                None => format!("{who}  counts{key}"),
                Some(why) => format!("{who}  DOES NOT COUNT: {why}{key}"),
            });
        }
        let root = match &standing.root {
            Some(root) => format!("trust root \"{}\"", root.name),
            None => "this machine trusts nobody".into(),
        };
        out.push(format!("{} reviewers count, {} needed, {root}", standing.reviewers, standing.reviewers_needed));
        if let Some(role) = &standing.role {
            out.push(format!("one of them with the role {}: {}", role.name, if role.met { "yes" } else { "NO" }));
        }
        out
    }
}

/// A parameter, for people.
fn parameter_words(parameter: &Parameter) -> String {
    match parameter {
        Parameter::Integer { from, to } => format!("a whole number from {from} to {to}"),
        Parameter::Text { most } => format!("text of at most {most} bytes, quoted by the host"),
        Parameter::Bytes { most } => format!("at most {most} bytes, written as X'...' by the host"),
        Parameter::Identifier => "a name, quoted by the host".into(),
        Parameter::Session => "the id of a session of ours, bound by the host".into(),
        Parameter::StateFile => {
            "the name of a file in ipc_folder, made a path by the host; the database writes it".into()
        }
    }
}

fn statement(manifest: &Manifest, name: &str, findings: &[Finding]) -> Option<Statement> {
    let statement = manifest.statements.get(name)?;
    let text = |name: &str| manifest.statements.get(name).map(|s| s.text.clone()).unwrap_or_default();
    let undo = statement.undo.as_ref().map(|undo| Undo {
        statement: undo.statement.clone(),
        text: text(&undo.statement),
        arguments: undo
            .arguments
            .iter()
            .map(|(parameter, from)| {
                let from = match from {
                    UndoArgument::Previous(read) => format!("what {read} answered just before the freeze"),
                    UndoArgument::Argument(own) => format!("what the freeze was given as {own}"),
                };
                (parameter.clone(), from)
            })
            .collect(),
        nothing: undo.nothing.clone(),
        by_hand: undo.by_hand.clone(),
    });
    let proof = |holds: &Answer| Proof {
        statement: holds.statement.clone(),
        text: text(&holds.statement),
        answer: expected(&holds.answer),
    };
    let proofs = statement.proofs().map(proof).collect();
    let at = format!("statements.{name}");
    let worst = findings.iter().filter(|f| f.at == at).map(|f| f.severity).min();
    let checked = match worst {
        Some(Severity::Danger) => Checked::Doubted,
        _ if Dialect::of(&manifest.client) == Dialect::Unknown => Checked::Unknown,
        Some(Severity::Look) => Checked::Unknown,
        Some(Severity::Note) | None => Checked::AsDeclared,
    };
    Some(Statement {
        name: name.to_owned(),
        session: statement.session.clone(),
        text: statement.text.clone(),
        parameters: statement.parameters.iter().map(|(n, p)| (n.clone(), parameter_words(p))).collect(),
        answers: statement.columns.iter().map(column_words).collect(),
        effect: statement.effect,
        stops: statement.stops,
        lasts: statement.lasts,
        recoverable: statement.recoverable,
        snapshots: statement.snapshots.clone(),
        undo,
        foreign: statement.foreign.clone(),
        proofs,
        checked,
    })
}

impl Client {
    /// What is sent before the first statement, in this order.
    fn first(&self) -> Vec<&str> {
        let connect = "SET DEFINE OFF, CONNECT as the configuration says; without a login there: / AS SYSBACKUP";
        let connects = (self.login == Some(LoginFormat::ConnectLine)).then_some(connect);
        connects.into_iter().chain(self.setup.iter().chain(&self.read_only).map(String::as_str)).collect()
    }

    /// What `{login}` stands for.
    fn login_words(&self) -> Option<&'static str> {
        Some(match self.login? {
            LoginFormat::OptionFile => "{login} is a sealed descriptor with a file of options, group [client]",
            LoginFormat::PassFile => {
                "{login} is host, port, user and database, and a sealed descriptor with the file of passwords"
            }
            LoginFormat::ConnectLine => "by a line that it is sent",
            LoginFormat::FetchPassword => {
                "{login} is the user, and a sealed descriptor with the password; {database} begins with the server"
            }
            LoginFormat::AskPass => {
                "{login} is the socket, or host and port, and the user; a password is the first line of its input"
            }
        })
    }

    /// What the host takes for an error.
    fn error_words(&self) -> Vec<String> {
        let mut out = vec![self.error.clone()];
        if self.errors == Printed::StandardOutput {
            out.push("printed among the rows".into());
        }
        if !self.lost.is_empty() {
            out.push(format!("the session is lost after {}", self.lost.join(", ")));
        }
        out
    }
}

fn rows_word(rows: Rows) -> &'static str {
    match rows {
        Rows::TabSeparated => "tabs between, as mariadb --batch prints them",
        Rows::Csv => "commas between, as psql --csv prints them",
        Rows::Quoted => "literals of SQL, as sqlite3 -quote prints them",
        Rows::QuotedCsv => "commas between and quotes around text, as sqlplus prints them",
        Rows::List => "a name and a value on each line, as isql-fb prints them",
        Rows::Reply => "one reply, as redis-cli --json prints it",
    }
}

fn column_words(column: &Column) -> String {
    let kind = match column.kind {
        ColumnKind::Integer => "number",
        ColumnKind::Text => "text",
        ColumnKind::Bytes => "bytes",
    };
    let more = [
        (column.encoding.is_some(), " in hexadecimal"),
        (column.nullable, " or NULL"),
        (column.keep, ", kept in the record"),
    ];
    let more: String = more.into_iter().filter_map(|(is, words)| is.then_some(words)).collect();
    format!("{}: {kind}{more}", column.name)
}

fn needed_words(name: &str, needed: &Needed) -> String {
    let must = if needed.must { "; nothing can be frozen without it" } else { "" };
    let before = needed.before.iter().map(|b| format!("; older servers call it {b}")).collect::<String>();
    format!("{name}: {}{must}{before}", needed.why)
}

fn logs(logs: &manifest::Logs) -> Vec<String> {
    let mut out: Vec<String> = logs.rotate.iter().map(|rotate| format!("closed by {rotate}")).collect();
    if logs.last_is_open {
        out.push("the last is still written".into());
    }
    out
}

fn follows(recovery: &Recovery) -> Vec<String> {
    let mut out: Vec<String> = recovery.time.iter().map(|time| format!("time as {time}")).collect();
    out.extend(recovery.first_log.iter().map(|name| format!("from the log in {name} on")));
    if recovery.apart_needs_logs {
        out.push("a copy of more than one instant needs its logs".into());
    }
    out
}

fn recipe(step: &Step) -> Recipe {
    let mut when: Vec<String> = step.routes.iter().map(|r| r.word().to_owned()).collect();
    when.extend(step.with.iter().map(|n| format!("with {{{n}}}")));
    when.extend(step.without.iter().map(|n| format!("without {{{n}}}")));
    let when = if when.is_empty() { "always".into() } else { when.join(", ") };
    Recipe { when, say: step.say.clone(), run: step.run.clone() }
}

fn believed(manifest: &Manifest) -> Vec<Believed> {
    let durable = manifest.data.durable.as_ref();
    let unheld = manifest.data.unheld.as_ref();
    let states =
        |u: &manifest::Unheld| u.states.iter().map(|(s, why)| format!("{s} ({why})")).collect::<Vec<_>>().join("; ");
    let role = manifest.role.as_ref();
    let logs = manifest.logs.as_ref();
    let process = manifest.data.process.as_ref();
    let named = process.map(|p| p.named.join(" or ")).unwrap_or_default();
    [
        (
            "which server it is, and since when it runs".to_owned(),
            manifest.identity.as_ref().map(|i| &i.statement),
            None,
        ),
        ("where the data lies".into(), manifest.data.paths.as_ref(), None),
        (
            format!("which process is the server, of those named {named}: its data lies in that one's working folder"),
            process.map(|p| &p.statement),
            None,
        ),
        ("that commits are on disk".into(), durable.map(|d| &d.statement), durable.map(|d| expected(&d.answer))),
        (
            "that nothing can be held, and that a snapshot is crash-consistent".into(),
            unheld.map(|u| &u.statement),
            unheld.map(states),
        ),
        ("that it is a replica".into(), role.map(|r| &r.statement), role.map(|r| expected(&r.replica))),
        ("whose logs they are".into(), logs.map(|l| &l.series), None),
        ("which logs there are".into(), logs.and_then(|l| l.list.as_ref()), None),
        ("where they lie".into(), logs.and_then(|l| l.folder.as_ref()), None),
        ("what the login may do".into(), manifest.privileges.as_ref().and_then(|p| p.held.as_ref()), None),
    ]
    .into_iter()
    .filter_map(|(what, statement, answer)| Some(Believed { what, statement: statement?.clone(), answer }))
    .collect()
}

fn expected(answer: &Expected) -> String {
    match answer {
        Expected::Unchanged => "the same as just after the freeze".into(),
        Expected::Integer(n) => n.to_string(),
        Expected::Text(t) => format!("'{t}'"),
    }
}

/// What it lacks.
fn cannot(manifest: &Manifest) -> Vec<String> {
    let mut out = vec![
        "reach files, the network, processes, the environment or the credential: its component runs in a \
                        process without any of them"
            .to_owned(),
    ];
    out.push("run a statement that is not listed here, or one of a phase that it does not belong to".into());
    let has = |effect| manifest.statements.values().any(|s| s.effect == effect);
    for (effect, words) in [
        (Effect::Change, "change anything beside what it freezes"),
        (Effect::Freeze, "stop anything"),
        (Effect::Cancel, "have a session of its own ended"),
        (Effect::Session, "change settings of its own sessions"),
    ] {
        if !has(effect) {
            out.push(format!("{words}: no statement is declared {}", dialect::word(effect)));
        }
    }
    if !manifest.freezes().any(|(_, s)| matches!(s.lasts, Some(Lasts::Server | Lasts::Disk | Lasts::Expires))) {
        out.push("leave anything behind, by what its author declared: what it freezes ends with its session".into());
    }
    let dialect = Dialect::of(&manifest.client);
    let own = |s: &manifest::Session| {
        let text = s.id.as_ref().and_then(|id| manifest.statements.get(id)).map(|s| s.text.as_str());
        s.cancel.is_none() || text.is_some_and(|t| dialect.is_one_of(t, dialect.language().ids))
    };
    if has(Effect::Cancel) && manifest.sessions.values().all(own) {
        out.push("end a session of its choice: the host binds whose, and alone runs it".into());
    }
    if let Some(wasm) = &manifest.wasm {
        for interface in Interface::ALL.into_iter().filter(|i| !wasm.imports.contains(i)) {
            out.push(match interface {
                Interface::Database => "ask the database anything".into(),
                Interface::State => "keep anything in ipc_folder".into(),
                Interface::Events => "say anything on the messaging channel".into(),
                Interface::Log => "write into the cycle's record".into(),
                Interface::Clock => "know the time".into(),
            });
        }
    }
    out
}

fn trusted(manifest: &Manifest, statements: &[Statement]) -> Trusted {
    let dialect = Dialect::of(&manifest.client);
    let count = |of: &dyn Fn(&Statement) -> bool| {
        let all = statements.iter().filter(|s| of(s)).count();
        let good = statements.iter().filter(|s| of(s) && s.checked == Checked::AsDeclared).count();
        format!("{good} of {all}")
    };
    let reads: &dyn Fn(&Statement) -> bool = &|s| s.effect == Effect::Read;
    let freezes: &dyn Fn(&Statement) -> bool = &|s| s.effect == Effect::Freeze;
    let others: &dyn Fn(&Statement) -> bool = &|s| !matches!(s.effect, Effect::Read | Effect::Freeze);
    let mut checked =
        vec!["one statement in each text, parameters apart from it, an undo and a proof for each freeze".into()];
    if dialect == Dialect::Unknown {
        checked.push("nothing of what the statements do: their language is not known".into());
    } else {
        checked.push(format!("read as {}: verb, clauses and functions of {} reads", dialect.name(), count(reads)));
        checked.push(format!("{} freezes, with their undo and their proof", count(freezes)));
        checked.push(format!("{} other statements", count(others)));
        checked.push("the client's program, its arguments, how answers end and how errors are told".into());
    }
    let unseen = match dialect {
        Dialect::Redis => "what the server's modules and settings make of a command",
        _ => "views, triggers, operators and functions that somebody defined in the database under a known name",
    };
    let mut declared = vec!["the effect of each statement, what a freeze stops and how long it lasts".to_owned()];
    if manifest.recovery.is_some() {
        declared.push("the commands to recover: read them; stillpoint prints them, and runs none".into());
    }
    Trusted { declared, checked, unseen: vec![unseen.into(), "what the component makes of the answers".into()] }
}

/// The parts of the page's list of statements, in the order of the page: what stands out comes first.
const PARTS: [(Effect, &str); 7] = [
    (Effect::Freeze, "FREEZES"),
    (Effect::Change, "CHANGES"),
    (Effect::Flush, "HAS WRITTEN TO DISK"),
    (Effect::Undo, "UNDOES"),
    (Effect::Cancel, "CANCELS"),
    (Effect::Session, "Its own session"),
    (Effect::Read, "Reads"),
];

fn stops_word(stops: Option<Stops>) -> &'static str {
    match stops {
        Some(Stops::Writes) => "writes",
        Some(Stops::Ddl) => "changes of the schema",
        Some(Stops::Nothing) | None => "nothing that applications notice",
    }
}

fn lasts_word(lasts: Option<Lasts>) -> &'static str {
    match lasts {
        Some(Lasts::Session) | None => "as long as its session",
        Some(Lasts::Expires) => "until its time is over, also after a crash of ours",
        Some(Lasts::Server) => "until the server restarts, also after a crash of ours",
        Some(Lasts::Disk) => "on disk, also after a crash of the server",
    }
}

fn checked_word(checked: Checked) -> &'static str {
    match checked {
        Checked::AsDeclared => "as declared",
        Checked::Unknown => "this build cannot say: see the findings",
        Checked::Doubted => "NOT AS DECLARED: see the findings",
    }
}

/// What a component is given, whatever it asks for: one that asks for more is not loaded.
fn given(imports: &[Interface]) -> String {
    let names: Vec<&str> = imports.iter().map(|i| i.name()).collect();
    let names = if names.is_empty() { "no interface".to_owned() } else { names.join(", ") };
    format!("{names}; nothing else, and no WASI, whatever it asks for")
}

fn limits_words(limits: &Limits) -> Vec<String> {
    vec![
        format!(
            "{} MiB memory, {} s for check and for prepare, {} s for its own thaw",
            limits.memory_mib, limits.prepare_seconds, limits.thaw_seconds
        ),
        format!("{} rows and {} KiB in one answer", limits.rows, limits.answer_kib),
        format!(
            "{} KiB of state, {} events, {} log lines in one cycle",
            limits.state_kib, limits.events, limits.log_lines
        ),
    ]
}

fn snapshot_word(snapshot: Snapshot) -> &'static str {
    match snapshot {
        Snapshot::Atomic => "all volumes at one instant",
        Snapshot::PerVolume => "each volume at its own",
        Snapshot::Files => "a copy of files",
    }
}

#[cfg(test)]
mod tests;
