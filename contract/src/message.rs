//! What engine and keeper say to each other over their socket pair: length-prefixed, postcard, capped.
//! Both ends are of one build; nothing here is kept on disk.
//!
//! The keeper believes nothing of what comes: a frame is capped before it is read, a list before it is decoded, and each
//! text after it ([`FromEngine::cut`]). An honest engine cuts what its module says, so only another one is ever refused.

use std::io::{self, Read, Write};
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::manifest::{Interface, Snapshot};

/// The longest frame, in bytes: the largest answer that a manifest can ask for, and some room.
pub const LONGEST: u32 = 17 * 1024 * 1024;

/// The longest frame that the keeper takes from an engine, in bytes: a state file and some room.
pub const LONGEST_FROM_ENGINE: usize = 2 * 1024 * 1024;

/// The most arguments of a statement.
pub const MOST_ARGUMENTS: usize = 64;

/// The most notices of one phase: an engine drops what is more, and the keeper ends one that does not.
pub const MOST_NOTICES: u32 = 10_000;

/// The most findings of one check.
pub const MOST_FINDINGS: usize = 200;

/// The most coordinates of a recovery point.
pub const MOST_COORDINATES: usize = 32;

/// The longest recovery point, in bytes of all its names and values.
pub const LONGEST_POINT: usize = 4096;

/// The longest name of a statement or of a state file, in bytes.
pub const LONGEST_NAME: usize = 64;

/// The longest name of a database, in bytes: it may be a path.
pub const LONGEST_DATABASE: usize = 4096;

/// The longest content of a state file, in bytes.
pub const LONGEST_CONTENT: usize = 1024 * 1024;

/// The longest text for people, in bytes.
pub const LONGEST_TEXT: usize = 2048;

/// The longest kind of an event, in bytes.
pub const LONGEST_KIND: usize = 40;

/// The longest data of an event, in bytes.
pub const LONGEST_EVENT: usize = 4096;

/// What the keeper says to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToEngine {
    /// First of all: load and instantiate the artefact, compiled before, which lies sealed in the file on the engine's
    /// standard output. Answered by [`FromEngine::Ready`], [`FromEngine::Stale`] or [`FromEngine::Unfit`].
    Load {
        /// The artefact's size in bytes.
        size: u64,
        /// Linear memory it may have, in bytes.
        memory: u64,
        /// The interfaces that it is given: those of its signed manifest.
        imports: Vec<Interface>,
        /// For which engine it was compiled.
        compatibility: Compatibility,
    },
    /// Run a phase. Answered by requests, then [`FromEngine::Done`] or [`FromEngine::Broken`].
    Call {
        /// Which.
        phase: Phase,
        /// What the operator asked for.
        plan: Plan,
        /// Milliseconds after which the engine stops the module.
        budget: u32,
    },
    /// The answer to the one request that is open.
    Reply(Reply),
    /// First of all, and instead of [`ToEngine::Load`]: compile the component, which lies, verified and sealed, in the
    /// file on the engine's standard output. Answered by [`FromEngine::Compiled`] or [`FromEngine::Unfit`]; then the
    /// engine ends.
    Compile {
        /// The component's size in bytes.
        size: u64,
        /// The interfaces that it will be given: those of its signed manifest.
        imports: Vec<Interface>,
    },
}

/// Which engine compiled, by all that decides whether another may load what came of it: version, settings, processor.
/// A SHA-256.
pub type Compatibility = [u8; 32];

/// The longest artefact that a component of this many bytes may be compiled to, in bytes. Machine code is longer than
/// what it was made of, but not by any factor.
#[must_use]
pub fn longest_artefact(component: u64) -> u64 {
    const ROOM: u64 = 1024 * 1024;
    const MOST: u64 = 128 * 1024 * 1024;
    component.saturating_mul(16).saturating_add(ROOM).min(MOST)
}

/// What the engine says to the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromEngine {
    /// First of all, before the engine has read anything: the walls round it stand. How far landlock reaches.
    Walled(Landlock),
    /// First of all: a wall could not be raised, so there will be no engine. Which, in words.
    Unwalled(String),
    /// The module is instantiated.
    Ready,
    /// The component cannot be used: in words.
    Unfit(String),
    /// The module asks for something; the engine waits for the reply.
    Request(Request),
    /// The module says something; no reply.
    Notice(Notice),
    /// The phase returned.
    Done(Result<Outcome, Failure>),
    /// The module trapped, ran too long or took too much. It is not called again.
    Broken(Broken),
    /// The component is compiled. This many bytes follow behind the frame, raw: the artefact.
    Compiled {
        /// Its size in bytes, at most [`longest_artefact`].
        size: u64,
        /// For which engine it was compiled.
        compatibility: Compatibility,
    },
    /// The artefact is another engine's, or none: nothing of it was run.
    Stale,
}

/// How much of landlock the kernel has. All other walls stand, or there is no engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Landlock {
    /// Files, the network, signals and abstract sockets.
    Whole,
    /// An older kernel's: files, and perhaps more.
    Partly,
    /// None.
    Missing,
}

/// A phase of the cycle that a module has a hand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Would a freeze work?
    Check,
    /// The slow work.
    Prepare,
    /// The standstill begins.
    Freeze,
    /// The graceful way back.
    Thaw,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Check => "check",
            Phase::Prepare => "prepare",
            Phase::Freeze => "freeze",
            Phase::Thaw => "thaw",
        })
    }
}

/// What the operator asked for: `plan` of the WIT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The cycle's id.
    pub cycle: String,
    /// The workload's name in the configuration.
    pub workload: String,
    /// The databases of `dbnames`; empty means all.
    pub databases: Vec<String>,
    /// What the agent will do.
    pub snapshot: Snapshot,
    /// In milliseconds.
    pub stall_budget: u32,
    /// In milliseconds.
    pub timeout: u32,
}

/// One argument or one cell: `value` of the WIT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// UTF-8.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// Its text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            Value::Null | Value::Integer(_) | Value::Bytes(_) => None,
        }
    }
}

/// Rows of an answer.
pub type Rows = Vec<Vec<Value>>;

/// The first column of the only row.
pub fn only(rows: &Rows) -> Option<Value> {
    match rows.as_slice() {
        [row] => row.first().cloned(),
        _ => None,
    }
}

/// What a module can ask for: all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Run a declared statement. Answered by [`Reply::Rows`].
    Run {
        /// Its name in the manifest.
        statement: String,
        /// Given exactly where its session is opened for each database.
        database: Option<String>,
        /// In the order of [`crate::manifest::argument_order`].
        #[serde(deserialize_with = "few::<_, _, MOST_ARGUMENTS>")]
        arguments: Vec<Value>,
    },
    /// Replace a state file. Answered by [`Reply::Done`].
    Put {
        /// Its name.
        name: String,
        /// Its content.
        content: Vec<u8>,
    },
    /// Read a state file. Answered by [`Reply::Content`].
    Get {
        /// Its name.
        name: String,
    },
    /// List the state files. Answered by [`Reply::Names`].
    List,
    /// Remove a state file. Answered by [`Reply::Done`].
    Remove {
        /// Its name.
        name: String,
    },
    /// Answered by [`Reply::Milliseconds`] since 1970.
    Now,
    /// Answered by [`Reply::Milliseconds`] left in this phase.
    Remaining,
}

/// What a module says without waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// An event for the messaging channel.
    Event {
        /// The last part of its type.
        kind: String,
        /// Its data.
        text: String,
    },
    /// A line for the record.
    Log {
        /// How serious.
        severity: Severity,
        /// For people.
        text: String,
    },
}

/// How serious a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// For the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Not well.
    Warn,
    /// Wrong.
    Error,
}

/// The keeper's answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Run`.
    Rows(Result<Rows, StatementError>),
    /// To `Put` and `Remove`.
    Done(Result<(), String>),
    /// To `Get`.
    Content(Result<Option<Vec<u8>>, String>),
    /// To `List`.
    Names(Result<Vec<String>, String>),
    /// To `Now` and `Remaining`.
    Milliseconds(u64),
}

/// Why a statement gave no rows: `statement-error` of the WIT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum StatementError {
    /// Nothing was sent.
    #[error("not declared: {0}")]
    Undeclared(String),
    /// Nothing was sent.
    #[error("refused: {0}")]
    Refused(String),
    /// The database's error.
    #[error("{0}")]
    Failed(DatabaseError),
    /// No answer in time; it may still be running.
    #[error("no answer in time")]
    TimedOut,
    /// The session is gone.
    #[error("the session is gone: {0}")]
    Lost(String),
    /// Longer than the limits allow.
    #[error("the answer is longer than the limits allow")]
    TooLarge,
    /// Not the declared columns.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

/// An error in the database's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseError {
    /// Its number, as text; empty where there is none.
    pub code: String,
    /// The SQLSTATE; empty where there is none.
    pub state: String,
    /// Its message.
    pub message: String,
}

impl std::fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.code.is_empty() {
            write!(f, "{}", self.message)
        } else {
            write!(f, "{} (error {})", self.message, self.code)
        }
    }
}

/// What a phase returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Of check.
    Report {
        /// The database's version, for people.
        version: String,
        /// What was found.
        #[serde(deserialize_with = "few::<_, _, MOST_FINDINGS>")]
        findings: Vec<Finding>,
    },
    /// Of freeze: the recovery point.
    Point(#[serde(deserialize_with = "few::<_, _, MOST_COORDINATES>")] Vec<Coordinate>),
    /// Of prepare and thaw.
    Nothing,
}

/// One thing that check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// For people.
    pub text: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Worth knowing.
    Note,
    /// It will work, but not well.
    Warning,
    /// It will not work.
    Problem,
}

/// One coordinate of the recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinate {
    /// Such as `gtid`.
    pub name: String,
    /// Such as `0-1-48213`.
    pub value: String,
}

/// Why a phase failed, in the module's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For people.
    pub text: String,
    /// The statement's error, where there was one.
    pub error: Option<StatementError>,
}

/// How a module broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Broken {
    /// It trapped: in the engine's words.
    Trapped(String),
    /// It ran longer than its budget.
    TooLong,
    /// It wanted more memory than its limit.
    TooMuchMemory,
}

impl FromEngine {
    /// Cuts what is for people to its longest. True where anything was too long, also where it cannot be cut.
    #[must_use]
    pub fn cut(&mut self) -> bool {
        match self {
            FromEngine::Walled(_) | FromEngine::Ready | FromEngine::Compiled { .. } | FromEngine::Stale => false,
            FromEngine::Unwalled(text) | FromEngine::Unfit(text) => cut(text, LONGEST_TEXT),
            FromEngine::Request(request) => request.is_too_long(),
            FromEngine::Notice(Notice::Event { kind, text }) => cut(text, LONGEST_EVENT) | (kind.len() > LONGEST_KIND),
            FromEngine::Notice(Notice::Log { text, .. }) => cut(text, LONGEST_TEXT),
            FromEngine::Done(Ok(outcome)) => outcome.cut(),
            FromEngine::Done(Err(failure)) => {
                cut(&mut failure.text, LONGEST_TEXT) | failure.error.as_mut().is_some_and(StatementError::cut)
            }
            FromEngine::Broken(Broken::Trapped(text)) => cut(text, LONGEST_TEXT),
            FromEngine::Broken(Broken::TooLong | Broken::TooMuchMemory) => false,
        }
    }
}

impl Request {
    /// Whether a name, an argument or a content is longer than any that is taken.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        match self {
            Request::Run { statement, database, arguments } => {
                statement.len() > LONGEST_NAME
                    || database.as_ref().is_some_and(|d| d.len() > LONGEST_DATABASE)
                    || arguments.len() > MOST_ARGUMENTS
                    || arguments.iter().map(Value::bytes).sum::<usize>() > LONGEST_CONTENT
            }
            Request::Put { name, content } => name.len() > LONGEST_NAME || content.len() > LONGEST_CONTENT,
            Request::Get { name } | Request::Remove { name } => name.len() > LONGEST_NAME,
            Request::List | Request::Now | Request::Remaining => false,
        }
    }
}

impl Value {
    fn bytes(&self) -> usize {
        match self {
            Value::Null | Value::Integer(_) => 8,
            Value::Text(t) => t.len(),
            Value::Bytes(b) => b.len(),
        }
    }
}

impl Outcome {
    fn cut(&mut self) -> bool {
        match self {
            Outcome::Report { version, findings } => {
                let mut long = cut(version, LONGEST_TEXT) | (findings.len() > MOST_FINDINGS);
                findings.truncate(MOST_FINDINGS);
                for finding in findings {
                    long |= cut(&mut finding.text, LONGEST_TEXT);
                }
                long
            }
            // Half a coordinate would be another one: it is not cut.
            Outcome::Point(point) => {
                let bytes: usize = point.iter().map(|c| c.name.len() + c.value.len()).sum();
                let long = point.len() > MOST_COORDINATES || bytes > LONGEST_POINT;
                point.truncate(MOST_COORDINATES);
                long
            }
            Outcome::Nothing => false,
        }
    }
}

impl StatementError {
    fn cut(&mut self) -> bool {
        match self {
            StatementError::Undeclared(t)
            | StatementError::Refused(t)
            | StatementError::Lost(t)
            | StatementError::Unexpected(t) => cut(t, LONGEST_TEXT),
            StatementError::Failed(e) => {
                cut(&mut e.code, LONGEST_NAME) | cut(&mut e.state, LONGEST_NAME) | cut(&mut e.message, LONGEST_TEXT)
            }
            StatementError::TimedOut | StatementError::TooLarge => false,
        }
    }
}

fn cut(text: &mut String, longest: usize) -> bool {
    let long = text.len() > longest;
    text.truncate(text.floor_char_boundary(longest));
    long
}

/// A list of at most this many: one more is an error before it is kept, however short each is on the wire.
fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MOST: usize>(from: D) -> Result<Vec<T>, D::Error> {
    struct Few<T, const MOST: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Few<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
            let mut out = Vec::new();
            while let Some(next) = from.next_element()? {
                if out.len() == MOST {
                    return Err(A::Error::custom("too many"));
                }
                out.push(next);
            }
            Ok(out)
        }
    }
    from.deserialize_seq(Few::<T, MOST>(PhantomData))
}

/// Writes one frame.
///
/// # Errors
/// What the writer gives; `InvalidData` for a frame above [`LONGEST`].
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&frame(message)?)?;
    to.flush()
}

/// One frame, ready to be written.
///
/// # Errors
/// `InvalidData` for a message above [`LONGEST`].
pub fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut out = postcard::to_extend(message, vec![0; 4]).map_err(invalid)?;
    let length =
        u32::try_from(out.len() - 4).ok().filter(|n| *n <= LONGEST).ok_or_else(|| invalid("frame too long"))?;
    out[..4].copy_from_slice(&length.to_le_bytes());
    Ok(out)
}

/// Reads one frame. `None` when the other end closed between two frames.
///
/// # Errors
/// What the reader gives; `InvalidData` for a frame that is too long or that does not decode.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut body = vec![0; length(head)?];
    from.read_exact(&mut body)?;
    decode(&body).map(Some)
}

/// The length of the body that follows these four bytes.
///
/// # Errors
/// `InvalidData` above [`LONGEST`].
pub fn length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(head);
    if length > LONGEST { Err(invalid("frame too long")) } else { Ok(length as usize) }
}

/// The message in a frame's body: all of it, nothing left over.
///
/// # Errors
/// `InvalidData`.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(invalid("bytes left over in a frame")),
        Err(e) => Err(invalid(e)),
    }
}

fn invalid(e: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let said = ToEngine::Reply(Reply::Rows(Ok(vec![vec![Value::Null, Value::Bytes(vec![0, 255])]])));
        let mut wire = Vec::new();
        write(&mut wire, &said).expect("write");
        let mut from = wire.as_slice();
        assert_eq!(read::<ToEngine>(&mut from).expect("read"), Some(said));
        assert_eq!(read::<ToEngine>(&mut from).expect("end"), None);
    }

    #[test]
    fn a_long_or_broken_frame_is_refused() {
        assert!(read::<ToEngine>(&mut [255u8; 8].as_slice()).is_err());
        assert!(read::<ToEngine>(&mut [2u8, 0, 0, 0, 99, 0].as_slice()).is_err());
    }

    #[test]
    fn a_list_that_is_too_long_is_not_decoded() {
        let run = |n| {
            let arguments = vec![Value::Null; n];
            FromEngine::Request(Request::Run { statement: "version".into(), database: None, arguments })
        };
        let decoded = |n| decode::<FromEngine>(&frame(&run(n)).expect("a frame")[4..]);
        assert_eq!(decoded(MOST_ARGUMENTS).expect("as many as may be"), run(MOST_ARGUMENTS));
        assert!(decoded(MOST_ARGUMENTS + 1).is_err());
        // A length that is a lie makes nothing be kept in advance.
        let mut lie = frame(&FromEngine::Done(Ok(Outcome::Point(Vec::new())))).expect("a frame")[4..].to_vec();
        lie.pop();
        lie.extend([255, 255, 255, 255, 15]);
        assert!(decode::<FromEngine>(&lie).is_err());
    }

    #[test]
    fn what_is_too_long_is_found_and_cut() {
        let long = "x".repeat(LONGEST_CONTENT + 1);
        let log = |text: &str| Notice::Log { severity: Severity::Info, text: text.into() };
        let mut said = FromEngine::Notice(log(&long));
        assert!(said.cut());
        assert!(!said.cut());
        assert_eq!(said, FromEngine::Notice(log(&long[..LONGEST_TEXT])));
        let mut said =
            FromEngine::Done(Ok(Outcome::Point(vec![
                Coordinate { name: "gtid".into(), value: long.clone() };
                MOST_COORDINATES + 1
            ])));
        assert!(said.cut());
        for request in [
            Request::Get { name: long.clone() },
            Request::Put { name: "a".into(), content: long.clone().into_bytes() },
            Request::Run { statement: long.clone(), database: None, arguments: Vec::new() },
            Request::Run { statement: "a".into(), database: Some(long.clone()), arguments: Vec::new() },
            Request::Run { statement: "a".into(), database: None, arguments: vec![Value::Text(long)] },
        ] {
            assert!(request.is_too_long());
        }
    }
}
