//! The rows that a client printed: whatever it prints.

use stillpoint::client::answer::parse;
use stillpoint_contract::manifest::{Column, ColumnKind, Encoding, Rows};
use stillpoint_contract::message::{StatementError, Value};

/// The most rows that are asked for.
const MOST: usize = 64;

/// The first line declares: `q`, `c`, `s`, `r` or `t` for the format, then two characters for each column, such as `qi- t? xh`: its
/// type (`i`nteger, `t`ext, `x` for bytes) and whether it is nullable (`?`), `h`exadecimal, both (`*`), or neither. The
/// rest is what is printed.
///
/// - No row and no cell is invented: there are as many as a count of separators, made without reading values, finds;
///   never more than were asked for.
/// - Each cell has its column's type, and is NULL only where that is declared and NULL is printed.
/// - Where literals are printed, text comes out of quotes alone or is a number: a word of the client's own is no row.
/// - The rows, printed as the format says, are read as the same rows.
/// - Of a reply there is at most one row; a line of `INFO` that is read stands there as it was printed.
/// - It is refused only as not declared or as too large.
pub fn check(bytes: &[u8]) {
    let at = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let (head, printed) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    let format = match head.first() {
        Some(b'q') => Rows::Quoted,
        Some(b'c') => Rows::Csv,
        Some(b's') => Rows::QuotedCsv,
        Some(b'r') => Rows::Reply,
        _ => Rows::TabSeparated,
    };
    let columns: Vec<Column> = head.get(1..).unwrap_or_default().chunks_exact(2).take(8).map(column).collect();
    if columns.iter().any(|c| is_refused_by_the_manifest(format, c)) {
        return;
    }
    let rows = match parse(format, printed, &columns, MOST) {
        Ok(rows) => rows,
        Err(StatementError::Unexpected(_)) => return,
        Err(StatementError::TooLarge) => {
            return assert!(cut(format, printed).len() > MOST, "too large, and is not");
        }
        Err(e) => panic!("{e:?}"),
    };
    assert!(rows.len() <= MOST);
    if format == Rows::QuotedCsv && columns.is_empty() {
        // Words that say that it was done.
        return assert!(rows.is_empty(), "rows that were not printed");
    }
    if format == Rows::Reply {
        return is_one_reply(&rows, &columns, printed);
    }
    let cut = cut(format, printed);
    assert_eq!(rows.len(), cut.len(), "rows that were not printed");
    for (row, cut) in rows.iter().zip(&cut) {
        assert_eq!((row.len(), row.len()), (columns.len(), cut.len()), "cells that were not printed");
        for ((cell, column), cut) in row.iter().zip(&columns).zip(cut) {
            is_what_was_printed(format, cell, column, cut);
        }
    }
    let again = print(format, &rows, &columns);
    assert_eq!(parse(format, &again, &columns, MOST), Ok(rows), "{}", String::from_utf8_lossy(&again));
}

fn is_one_reply(rows: &[Vec<Value>], columns: &[Column], printed: &[u8]) {
    assert!(rows.len() <= 1, "rows that were not printed");
    for (cell, column) in rows.iter().flatten().zip(columns) {
        match cell {
            Value::Null => assert!(column.nullable, "NULL where there is none"),
            Value::Integer(_) => assert_eq!(column.kind, ColumnKind::Integer),
            Value::Bytes(_) => assert_eq!(column.kind, ColumnKind::Bytes),
            Value::Text(text) => {
                assert_eq!(column.kind, ColumnKind::Text);
                let line = format!("{}:{text}", column.name).into_bytes();
                let printed_so = |l: &[u8]| l.strip_suffix(b"\r").unwrap_or(l) == line;
                let encoded = column.encoding.is_some();
                assert!(encoded || !printed.starts_with(b"#") || printed.split(|b| *b == b'\n').any(printed_so));
            }
        }
    }
}

fn column(two: &[u8]) -> Column {
    let kind = match two[0] {
        b'i' => ColumnKind::Integer,
        b'x' => ColumnKind::Bytes,
        _ => ColumnKind::Text,
    };
    let encoding = matches!(two[1], b'h' | b'*').then_some(Encoding::Hex);
    Column { name: "c".into(), kind, encoding, nullable: matches!(two[1], b'?' | b'*'), keep: false }
}

/// As the manifest's schema says of a column.
fn is_refused_by_the_manifest(format: Rows, column: &Column) -> bool {
    if format == Rows::QuotedCsv && column.nullable {
        return true;
    }
    let exact = format == Rows::Quoted
        || (format == Rows::Reply && column.kind != ColumnKind::Bytes)
        || column.kind == ColumnKind::Integer
        || column.encoding.is_some();
    (!exact && (column.nullable || column.kind == ColumnKind::Bytes))
        || (column.encoding.is_some() && column.kind == ColumnKind::Integer)
}

fn is_what_was_printed(format: Rows, cell: &Value, column: &Column, printed: &[u8]) {
    match cell {
        Value::Null => assert!(column.nullable && printed == b"NULL", "NULL where there is none"),
        Value::Integer(_) => assert_eq!(column.kind, ColumnKind::Integer),
        Value::Bytes(_) => assert_eq!(column.kind, ColumnKind::Bytes),
        Value::Text(_) => assert_eq!(column.kind, ColumnKind::Text),
    }
    if format == Rows::QuotedCsv {
        let number = |b: &u8| b.is_ascii_digit() || *b == b'-';
        let literal = printed.ends_with(b"\"") || (!printed.is_empty() && printed.iter().all(number));
        assert!(literal, "a word of the client's own: {:?}", String::from_utf8_lossy(printed));
    }
    if format == Rows::Quoted && *cell != Value::Null {
        let number = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
        let literal = printed.ends_with(b"'") || (!printed.is_empty() && printed.iter().all(number));
        assert!(literal, "neither a literal nor a number: {:?}", String::from_utf8_lossy(printed));
    }
}

/// The cells as they were printed, by separators alone.
fn cut(format: Rows, printed: &[u8]) -> Vec<Vec<&[u8]>> {
    let separator = separator(format);
    let quote = match format {
        Rows::Quoted => Some(b'\''),
        Rows::Csv | Rows::QuotedCsv => Some(b'"'),
        Rows::TabSeparated | Rows::Reply | Rows::List => None,
    };
    let mut out = Vec::new();
    let mut row = Vec::new();
    let (mut quoted, mut from) = (false, 0);
    for (at, byte) in printed.iter().enumerate() {
        match *byte {
            // A doubled one opens what it closed.
            b if quote == Some(b) => quoted = !quoted,
            b if !quoted && (b == separator || b == b'\n') => {
                row.push(&printed[from..at]);
                from = at + 1;
                if b == b'\n' {
                    out.push(std::mem::take(&mut row));
                }
            }
            _ => {}
        }
    }
    if from < printed.len() || !row.is_empty() {
        row.push(&printed[from..]);
        out.push(row);
    }
    if format == Rows::QuotedCsv {
        out.retain(|row| row.concat() != b"" || row.len() > 1);
    }
    out
}

fn separator(format: Rows) -> u8 {
    if format == Rows::TabSeparated { b'\t' } else { b',' }
}

/// The rows as the client prints them.
fn print(format: Rows, rows: &[Vec<Value>], columns: &[Column]) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows {
        for (i, (cell, column)) in row.iter().zip(columns).enumerate() {
            if i > 0 {
                out.push(separator(format));
            }
            out.extend(print_cell(format, cell, column.encoding.is_some()));
        }
        out.push(b'\n');
    }
    out
}

fn print_cell(format: Rows, cell: &Value, encoded: bool) -> Vec<u8> {
    let bytes = match cell {
        Value::Null => return b"NULL".to_vec(),
        Value::Integer(n) => return n.to_string().into_bytes(),
        Value::Text(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
    };
    let hexadecimal = hex::encode_upper(bytes);
    match (format, cell) {
        (Rows::Quoted, Value::Bytes(_)) if !encoded => format!("X'{hexadecimal}'").into_bytes(),
        (Rows::Quoted, _) if encoded => format!("'{hexadecimal}'").into_bytes(),
        (Rows::Quoted, _) => [&b"'"[..], &double_quotes(bytes, b'\''), b"'"].concat(),
        (Rows::QuotedCsv, _) if encoded => format!("\"{hexadecimal}\"").into_bytes(),
        (Rows::QuotedCsv, _) => [&b"\""[..], &double_quotes(bytes, b'"'), b"\""].concat(),
        (Rows::Csv, _) if encoded => hexadecimal.into_bytes(),
        (Rows::Csv, _) if bytes.iter().any(|b| b",\"\n\r".contains(b)) || bytes == b"\\." => {
            [&b"\""[..], &double_quotes(bytes, b'"'), b"\""].concat()
        }
        (Rows::Csv, _) => bytes.to_vec(),
        (Rows::TabSeparated | Rows::Reply | Rows::List, _) if encoded => hexadecimal.into_bytes(),
        (Rows::TabSeparated | Rows::Reply | Rows::List, _) => bytes.iter().flat_map(|b| escape(*b)).collect(),
    }
}

fn double_quotes(text: &[u8], quote: u8) -> Vec<u8> {
    text.iter().flat_map(|b| std::iter::repeat_n(*b, if *b == quote { 2 } else { 1 })).collect()
}

fn escape(byte: u8) -> Vec<u8> {
    match byte {
        b'\t' => b"\\t".to_vec(),
        b'\n' => b"\\n".to_vec(),
        0 => b"\\0".to_vec(),
        b'\\' => b"\\\\".to_vec(),
        b => vec![b],
    }
}
