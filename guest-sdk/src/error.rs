//! Why a phase fails.

use std::fmt::{self, Display};

use crate::StatementError;

/// The result of a phase, or of a statement.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a phase failed: words for people, and the statement's error where there was one.
#[derive(Debug, Clone)]
pub struct Error {
    pub(crate) text: String,
    pub(crate) cause: Option<StatementError>,
}

impl Error {
    /// An error in words: what is wrong, and what to do about it.
    pub fn new(text: impl Display) -> Error {
        Error { text: text.to_string(), cause: None }
    }

    pub(crate) fn of_statement(statement: &str, cause: StatementError) -> Error {
        Error { text: format!("statement {statement}"), cause: Some(cause) }
    }

    /// Puts words for people in front, and keeps the cause.
    #[must_use]
    pub fn context(mut self, text: impl Display) -> Error {
        self.text = format!("{text} ({})", self.text);
        self
    }

    /// The statement's error, if this is one.
    #[must_use]
    pub fn cause(&self) -> Option<&StatementError> {
        self.cause.as_ref()
    }

    /// The database's own code, such as `1205`, if it answered with an error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match &self.cause {
            Some(StatementError::Failed(error)) => Some(&error.code),
            _ => None,
        }
    }

    /// The database's own message, if it answered with an error.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match &self.cause {
            Some(StatementError::Failed(error)) => Some(&error.message),
            _ => None,
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)?;
        match &self.cause {
            None => Ok(()),
            Some(StatementError::Undeclared(text) | StatementError::Refused(text)) => write!(f, ": refused: {text}"),
            Some(StatementError::Failed(e)) => write!(f, ": {} {}", e.code, e.message),
            Some(StatementError::TimedOut) => write!(f, ": no answer in time"),
            Some(StatementError::Lost(text)) => write!(f, ": the session is lost: {text}"),
            Some(StatementError::TooLarge) => write!(f, ": the answer is too large"),
            Some(StatementError::Unexpected(text)) => write!(f, ": {text}"),
        }
    }
}

impl std::error::Error for Error {}
