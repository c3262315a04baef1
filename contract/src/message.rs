//! What engine and keeper say to each other over their socket pair: length-prefixed, postcard, capped.
//! Both ends are of one build; nothing here is kept on disk.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::manifest::Snapshot;

/// The longest frame, in bytes: a component and some room.
pub const LONGEST: u32 = 64 * 1024 * 1024;

/// The longest frame that the keeper takes from an engine, in bytes: a state file and some room.
pub const LONGEST_FROM_ENGINE: usize = 2 * 1024 * 1024;

/// What the keeper says to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToEngine {
    /// First of all: compile and instantiate this component. Answered by [`FromEngine::Ready`] or [`FromEngine::Unfit`].
    Load {
        /// The component, verified.
        component: Vec<u8>,
        /// Linear memory it may have, in bytes.
        memory: u64,
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
}

/// What the engine says to the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromEngine {
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

/// Rows of an answer.
pub type Rows = Vec<Vec<Value>>;

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
        findings: Vec<Finding>,
    },
    /// Of freeze: the recovery point.
    Point(Vec<Coordinate>),
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
}
