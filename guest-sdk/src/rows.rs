//! From the host's values to typed rows.

use crate::phase::MayRead;
use crate::{Error, Result, StatementError, Value, host};

/// The rows of one answer.
#[derive(Debug, Clone)]
pub struct Rows<T> {
    statement: &'static str,
    rows: Vec<T>,
}

impl<T> Rows<T> {
    /// The only row.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn one(self) -> Result<T> {
        let count = self.rows.len();
        match (count, self.rows.into_iter().next()) {
            (1, Some(row)) => Ok(row),
            _ => Err(Error::of_statement(
                self.statement,
                StatementError::Unexpected(format!("one row was expected, {count} came")),
            )),
        }
    }

    /// The first row, if there is any.
    #[must_use]
    pub fn first(self) -> Option<T> {
        self.rows.into_iter().next()
    }

    /// All rows.
    #[must_use]
    pub fn all(self) -> Vec<T> {
        self.rows
    }
}

impl<T> IntoIterator for Rows<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

/// What `module!` writes for a statement with columns.
pub trait FromRow: Sized {
    /// Takes the columns, in order.
    ///
    /// # Errors
    /// In words: which column is not what the manifest declares.
    fn from_row(cells: &mut dyn Iterator<Item = Value>) -> std::result::Result<Self, String>;
}

/// What a column can be in Rust.
pub trait Cell: Sized {
    /// From the host's value.
    ///
    /// # Errors
    /// In words, if the value is of another kind.
    fn from_value(value: Value) -> std::result::Result<Self, String>;
}

impl Cell for i64 {
    fn from_value(value: Value) -> std::result::Result<i64, String> {
        match value {
            Value::Integer(n) => Ok(n),
            other => Err(format!("an integer was expected, not {other:?}")),
        }
    }
}

impl Cell for String {
    fn from_value(value: Value) -> std::result::Result<String, String> {
        match value {
            Value::Text(text) => Ok(text),
            other => Err(format!("text was expected, not {other:?}")),
        }
    }
}

impl Cell for Vec<u8> {
    fn from_value(value: Value) -> std::result::Result<Vec<u8>, String> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(format!("bytes were expected, not {other:?}")),
        }
    }
}

impl<T: Cell> Cell for Option<T> {
    fn from_value(value: Value) -> std::result::Result<Option<T>, String> {
        match value {
            Value::Null => Ok(None),
            other => T::from_value(other).map(Some),
        }
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Integer(n)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Value {
        Value::Bytes(bytes.into())
    }
}

/// What `module!` calls for a statement that gives rows.
///
/// # Errors
/// As the host says.
pub fn call<T: FromRow>(
    _phase: &impl MayRead,
    statement: &'static str,
    database: Option<&str>,
    arguments: &[Value],
) -> Result<Rows<T>> {
    let fail = |cause| Error::of_statement(statement, cause);
    let rows = host::run(statement, database, arguments).map_err(fail)?;
    let rows = rows.into_iter().map(typed).collect::<std::result::Result<_, _>>();
    Ok(Rows { statement, rows: rows.map_err(|text| fail(StatementError::Unexpected(text)))? })
}

fn typed<T: FromRow>(row: Vec<Value>) -> std::result::Result<T, String> {
    let mut cells = row.into_iter();
    let typed = T::from_row(&mut cells)?;
    if cells.next().is_some() { Err("more columns came than the manifest declares".into()) } else { Ok(typed) }
}

/// What `module!` calls for a statement that gives no rows.
///
/// # Errors
/// As the host says.
pub fn execute(
    _phase: &impl MayRead,
    statement: &'static str,
    database: Option<&str>,
    arguments: &[Value],
) -> Result<()> {
    host::run(statement, database, arguments).map_err(|cause| Error::of_statement(statement, cause))?;
    Ok(())
}
