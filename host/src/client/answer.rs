//! What a client printed into typed rows. Nothing is guessed: what is not as declared is [`StatementError::Unexpected`].

use stillpoint_contract::manifest::{Column, ColumnKind, Encoding, Rows};
use stillpoint_contract::message::{self, StatementError, Value};

/// One cell as printed: its bytes, and whether it was certainly NULL, text or bytes.
enum Cell {
    Null,
    Bare(Vec<u8>),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
}

/// Reads all rows. With no declared column the answer must be empty.
///
/// # Errors
/// [`StatementError::Unexpected`], [`StatementError::TooLarge`] for more than `most` rows.
pub fn parse(format: Rows, printed: &[u8], columns: &[Column], most: usize) -> Result<message::Rows, StatementError> {
    let rows = match format {
        Rows::TabSeparated => tab_separated(printed)?,
        Rows::Csv => csv(printed)?,
        Rows::Quoted => quoted(printed)?,
        // "Database altered.", as far as the client was not told to be quiet.
        Rows::QuotedCsv if columns.is_empty() => Vec::new(),
        Rows::QuotedCsv => quoted_csv(printed)?,
        Rows::List => list(printed)?,
        Rows::Reply => reply(printed, columns)?,
    };
    if rows.len() > most {
        return Err(StatementError::TooLarge);
    }
    rows.into_iter()
        .enumerate()
        .map(|(i, cells)| {
            if cells.len() != columns.len() {
                return Err(unexpected(format!(
                    "row {} has {} columns, {} are declared",
                    i + 1,
                    cells.len(),
                    columns.len()
                )));
            }
            cells.into_iter().zip(columns).map(|(cell, column)| typed(format, cell, column)).collect()
        })
        .collect()
}

fn unexpected(text: impl Into<String>) -> StatementError {
    StatementError::Unexpected(text.into())
}

fn typed(format: Rows, cell: Cell, column: &Column) -> Result<Value, StatementError> {
    let bytes = match cell {
        Cell::Null => return null(column),
        Cell::Bare(bytes) => {
            // The clients of MySQL's family, PostgreSQL's and Firebird's print NULL as a bare word. Where the column is encoded or a
            // number, that word can be nothing else; for plain text the manifest may not say nullable.
            let certain = column.encoding.is_some() || column.kind == ColumnKind::Integer;
            let word: &[u8] = if format == Rows::List { b"<null>" } else { b"NULL" };
            let bare = matches!(format, Rows::TabSeparated | Rows::Csv | Rows::List);
            if bare && certain && bytes == word {
                return null(column);
            }
            bytes
        }
        Cell::Text(bytes) | Cell::Bytes(bytes) => bytes,
    };
    let bytes = match column.encoding {
        Some(Encoding::Hex) => {
            hex::decode(&bytes).map_err(|_| unexpected(format!("{} is not hexadecimal", column.name)))?
        }
        None => bytes,
    };
    match column.kind {
        ColumnKind::Bytes => Ok(Value::Bytes(bytes)),
        ColumnKind::Text => {
            String::from_utf8(bytes).map(Value::Text).map_err(|_| unexpected(format!("{} is not UTF-8", column.name)))
        }
        ColumnKind::Integer => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|t| t.parse().ok())
            .map(Value::Integer)
            .ok_or_else(|| unexpected(format!("{} is no whole number of 64 bits", column.name))),
    }
}

fn null(column: &Column) -> Result<Value, StatementError> {
    if column.nullable { Ok(Value::Null) } else { Err(unexpected(format!("{} is NULL", column.name))) }
}

fn tab_separated(printed: &[u8]) -> Result<Vec<Vec<Cell>>, StatementError> {
    let mut rows = Vec::new();
    for line in lines(printed) {
        let cells: Result<_, _> = line.split(|b| *b == b'\t').map(|c| unescape(c).map(Cell::Bare)).collect();
        rows.push(cells?);
    }
    Ok(rows)
}

fn lines(printed: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = printed.strip_suffix(b"\n").unwrap_or(printed);
    let none = printed.is_empty();
    body.split(|b| *b == b'\n').filter(move |_| !none)
}

fn unescape(cell: &[u8]) -> Result<Vec<u8>, StatementError> {
    let mut out = Vec::with_capacity(cell.len());
    let mut bytes = cell.iter();
    while let Some(b) = bytes.next() {
        if *b != b'\\' {
            out.push(*b);
            continue;
        }
        out.push(match bytes.next() {
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            _ => return Err(unexpected("an escape that this client never prints")),
        });
    }
    Ok(out)
}

/// Where the value begins on a line of `isql`: a name has at most 31 letters.
const VALUE: usize = 32;

/// A name and a value on each line, and an empty line after each row. A value is one word, or empty.
fn list(printed: &[u8]) -> Result<Vec<Vec<Cell>>, StatementError> {
    let mut rows = Vec::new();
    for lines in printed.split(|b| *b == b'\n').collect::<Vec<_>>().split(|line| line.is_empty()) {
        let cells: Result<Vec<Cell>, _> = lines.iter().map(|line| named(line).map(Cell::Bare)).collect();
        let cells = cells?;
        if !cells.is_empty() {
            rows.push(cells);
        }
    }
    Ok(rows)
}

/// The value of a line.
fn named(line: &[u8]) -> Result<Vec<u8>, StatementError> {
    let (name, value) = line.split_at_checked(VALUE).ok_or_else(|| unexpected("a line without a name and a value"))?;
    if !name.first().is_some_and(u8::is_ascii_alphabetic) || !name.ends_with(b" ") || value.contains(&b' ') {
        return Err(unexpected("a line that is not a name and a value of one word"));
    }
    Ok(value.to_vec())
}

/// One reply of `redis-cli --json`. Where no column is declared, it is an acknowledgement such as `OK`.
fn reply(printed: &[u8], columns: &[Column]) -> Result<Vec<Vec<Cell>>, StatementError> {
    if printed.starts_with(b"#") {
        return named_lines(printed, columns);
    }
    let value = serde_json::from_slice(printed).map_err(|_| unexpected("it is no reply of one value"))?;
    let cell = match value {
        serde_json::Value::String(_) if columns.is_empty() => return Ok(Vec::new()),
        serde_json::Value::String(text) => Cell::Text(text.into_bytes()),
        serde_json::Value::Number(number) => Cell::Bare(number.to_string().into_bytes()),
        serde_json::Value::Null => Cell::Null,
        _ => return Err(unexpected("a reply of several values")),
    };
    Ok(vec![vec![cell]])
}

/// `INFO`: sections, and lines `name:value`. The columns are found by their names.
fn named_lines(printed: &[u8], columns: &[Column]) -> Result<Vec<Vec<Cell>>, StatementError> {
    let mut cells: Vec<Cell> = columns.iter().map(|_| Cell::Null).collect();
    for line in lines(printed) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let at = line.iter().position(|b| *b == b':').ok_or_else(|| unexpected("a line without a name"))?;
        for (cell, column) in cells.iter_mut().zip(columns) {
            if column.name.as_bytes() != &line[..at] {
                continue;
            }
            if !matches!(cell, Cell::Null) {
                return Err(unexpected(format!("{} is there twice", column.name)));
            }
            *cell = Cell::Bare(line[at + 1..].to_vec());
        }
    }
    Ok(vec![cells])
}

/// SQL literals with commas between; text may hold line breaks.
fn quoted(printed: &[u8]) -> Result<Vec<Vec<Cell>>, StatementError> {
    between_commas(printed, literal)
}

/// Bare text, or text in double quotes, with commas between; quoted text may hold line breaks.
fn csv(printed: &[u8]) -> Result<Vec<Vec<Cell>>, StatementError> {
    between_commas(printed, |from| {
        if let Some(body) = from.strip_prefix(b"\"") {
            let (text, rest) = until_quote(body, b'"')?;
            return Ok((Cell::Text(text), rest));
        }
        let end = from.iter().position(|b| matches!(b, b',' | b'\n')).unwrap_or(from.len());
        let (bare, rest) = from.split_at(end);
        if bare.iter().any(|b| matches!(b, b'"' | b'\r')) {
            return Err(unexpected("a character that this client prints within quotes alone"));
        }
        Ok((Cell::Bare(bare.to_vec()), rest))
    })
}

/// As [`csv`], but text is always quoted, so that a word of the client's own is no row; nothing is NULL, and empty lines
/// between rows are nothing.
fn quoted_csv(printed: &[u8]) -> Result<Vec<Vec<Cell>>, StatementError> {
    let mut rows = between_commas(printed, |from| {
        if let Some(body) = from.strip_prefix(b"\"") {
            let (text, rest) = until_quote(body, b'"')?;
            return Ok((Cell::Text(text), rest));
        }
        let end = from.iter().position(|b| matches!(b, b',' | b'\n')).unwrap_or(from.len());
        let (bare, rest) = from.split_at(end);
        let digits = bare.strip_prefix(b"-").unwrap_or(bare);
        match bare {
            [] => Ok((Cell::Null, rest)),
            _ if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => Ok((Cell::Bare(bare.to_vec()), rest)),
            _ => Err(unexpected("a word of the client's own among the rows")),
        }
    })?;
    rows.retain(|row| !matches!(row.as_slice(), [Cell::Null]));
    Ok(rows)
}

/// Rows of cells that `cell` takes from the front, each with what comes behind it.
fn between_commas(
    printed: &[u8],
    cell: impl Fn(&[u8]) -> Result<(Cell, &[u8]), StatementError>,
) -> Result<Vec<Vec<Cell>>, StatementError> {
    let mut rows = Vec::new();
    let mut rest = printed;
    while !rest.is_empty() {
        let mut row = Vec::new();
        loop {
            let (value, after) = cell(rest)?;
            row.push(value);
            match after.split_first() {
                Some((b',', tail)) => rest = tail,
                Some((b'\n', tail)) => {
                    rest = tail;
                    break;
                }
                None => {
                    rest = after;
                    break;
                }
                Some(_) => return Err(unexpected("neither a comma nor a line break after a value")),
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

fn literal(from: &[u8]) -> Result<(Cell, &[u8]), StatementError> {
    if let Some(body) = from.strip_prefix(b"'") {
        let (text, rest) = until_quote(body, b'\'')?;
        return Ok((Cell::Text(text), rest));
    }
    if let Some(body) = from.strip_prefix(b"X'").or_else(|| from.strip_prefix(b"x'")) {
        let (text, rest) = until_quote(body, b'\'')?;
        let bytes = hex::decode(text).map_err(|_| unexpected("a blob that is not hexadecimal"))?;
        return Ok((Cell::Bytes(bytes), rest));
    }
    let end = from.iter().position(|b| matches!(b, b',' | b'\n')).unwrap_or(from.len());
    let (bare, rest) = from.split_at(end);
    if bare == b"NULL" {
        return Ok((Cell::Null, rest));
    }
    // Only numbers are printed bare: anything else is no row, but words of the client's own.
    let digits = bare.strip_prefix(b"-").unwrap_or(bare);
    let number = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
    if !digits.first().is_some_and(u8::is_ascii_digit) || !digits.iter().all(number) {
        return Err(unexpected("a word that is no literal"));
    }
    Ok((Cell::Bare(bare.to_vec()), rest))
}

/// The text up to its closing quote, with the doubled ones in it single, and what comes behind.
fn until_quote(mut from: &[u8], quote: u8) -> Result<(Vec<u8>, &[u8]), StatementError> {
    let mut out = Vec::new();
    loop {
        let at = from.iter().position(|b| *b == quote).ok_or_else(|| unexpected("a quote without its end"))?;
        out.extend_from_slice(&from[..at]);
        from = &from[at + 1..];
        match from.strip_prefix(&[quote]) {
            Some(rest) => {
                out.push(quote);
                from = rest;
            }
            None => return Ok((out, from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(kind: ColumnKind, encoding: Option<Encoding>, nullable: bool) -> Column {
        Column { name: "c".into(), kind, encoding, nullable, keep: false }
    }

    #[test]
    fn null_and_empty_and_the_word_null_are_told_apart() {
        let hex = [column(ColumnKind::Text, Some(Encoding::Hex), true)];
        assert_eq!(
            parse(Rows::TabSeparated, b"NULL\n\n4E554C4C\n", &hex, 9).unwrap(),
            vec![vec![Value::Null], vec![Value::Text(String::new())], vec![Value::Text("NULL".into())],]
        );
        let text = [column(ColumnKind::Text, None, true)];
        assert_eq!(
            parse(Rows::Quoted, b"NULL\n''\n'NULL'\n", &text, 9).unwrap(),
            vec![vec![Value::Null], vec![Value::Text(String::new())], vec![Value::Text("NULL".into())],]
        );
    }

    /// As psql 15 printed it.
    #[test]
    fn what_psql_prints_is_read_exactly() {
        let text = |n| vec![column(ColumnKind::Text, None, false); n];
        let printed = b"\"a,b\",\"x\ny\",,NULL,\"\\.\",\xc3\xa9,t,\"a\"\"b\", sp ,\"\r\",tab\t\n";
        let want = ["a,b", "x\ny", "", "NULL", "\\.", "\u{e9}", "t", "a\"b", " sp ", "\r", "tab\t"];
        let want: Vec<Value> = want.iter().map(|t| Value::Text((*t).into())).collect();
        assert_eq!(parse(Rows::Csv, printed, &text(11), 9).unwrap(), vec![want]);
        assert_eq!(parse(Rows::Csv, b"\n", &text(1), 9).unwrap(), vec![vec![Value::Text(String::new())]]);
        assert_eq!(parse(Rows::Csv, b"", &text(1), 9).unwrap(), Vec::<Vec<Value>>::new());
        let certain = [column(ColumnKind::Text, Some(Encoding::Hex), true), column(ColumnKind::Integer, None, true)];
        assert_eq!(
            parse(Rows::Csv, b"NULL,NULL\n,-1\n4e554c4c,7\n", &certain, 9).unwrap(),
            vec![
                vec![Value::Null, Value::Null],
                vec![Value::Text(String::new()), Value::Integer(-1)],
                vec![Value::Text("NULL".into()), Value::Integer(7)],
            ]
        );
        for printed in [&b"\"a\n"[..], b"a\"b\n", b"\"a\"b\n", b"a\r\n", b"a,b\n"] {
            assert!(matches!(parse(Rows::Csv, printed, &text(1), 9), Err(StatementError::Unexpected(_))));
        }
    }

    /// As SQL*Plus 12.2 and later are documented to print it.
    #[test]
    fn words_of_sqlplus_are_no_rows() {
        let two = [column(ColumnKind::Text, None, false), column(ColumnKind::Integer, None, false)];
        let row = |text: &str, n| vec![Value::Text(text.into()), Value::Integer(n)];
        assert_eq!(
            parse(Rows::QuotedCsv, b"\n\"a,\"\"b\nc\",7\n\n\"\",\"-8\"\n\n\n", &two, 9).unwrap(),
            vec![row("a,\"b\nc", 7), row("", -8)]
        );
        assert_eq!(parse(Rows::QuotedCsv, b"\n\n", &two, 9).unwrap(), Vec::<Vec<Value>>::new());
        let text = &two[..1];
        for printed in ["no rows selected\n", "Connected.\n\"a\"\n", "\"a\" b\n", "\"a\n", "SP2-0042: unknown\n", "-\n"]
        {
            let said = parse(Rows::QuotedCsv, printed.as_bytes(), text, 9);
            assert!(matches!(said, Err(StatementError::Unexpected(_))), "{printed}");
        }
        assert!(parse(Rows::QuotedCsv, b"\"a\",\n", &two, 9).is_err(), "NULL was not declared");
        assert_eq!(parse(Rows::QuotedCsv, b"\nDatabase altered.\n\n", &[], 9).unwrap(), Vec::<Vec<Value>>::new());
    }

    /// As isql 3.0 printed it.
    #[test]
    fn what_isql_prints_is_read_exactly() {
        let hex = |nullable| column(ColumnKind::Text, Some(Encoding::Hex), nullable);
        let number = column(ColumnKind::Integer, None, true);
        let columns = [hex(false), hex(true), hex(true), number];
        let line = |name: &str, value: &str| format!("{name:<32}{value}\n");
        let row = |n: &str| line("X", "61C3A927") + &line("Y", "") + &line("CAST", "<null>") + &line("N", n);
        let printed = format!("\n{}\n{}\n\n\n\n", row("-6"), row("<null>"));
        let want = |n| vec![Value::Text("a\u{e9}'".into()), Value::Text(String::new()), Value::Null, n];
        assert_eq!(
            parse(Rows::List, printed.as_bytes(), &columns, 9).unwrap(),
            vec![want(Value::Integer(-6)), want(Value::Null)]
        );
        assert_eq!(parse(Rows::List, b"\n\n\n", &columns, 9).unwrap(), Vec::<Vec<Value>>::new());
        let one = [hex(true)];
        for printed in [line("X", "a b"), line("", "61"), line("X", "6"), "X 61\n".into(), line("X", "61").repeat(2)] {
            assert!(
                matches!(parse(Rows::List, printed.as_bytes(), &one, 9), Err(StatementError::Unexpected(_))),
                "{printed}"
            );
        }
    }

    /// As redis-cli 7.0 printed it, with `-2 --json`.
    #[test]
    fn what_redis_cli_prints_is_read_exactly() {
        let named =
            |name: &str, kind, nullable| Column { name: name.into(), kind, encoding: None, nullable, keep: false };
        let columns = [
            named("run_id", ColumnKind::Text, false),
            named("aof_enabled", ColumnKind::Integer, false),
            named("valkey_version", ColumnKind::Text, true),
            named("config_file", ColumnKind::Text, true),
        ];
        let printed = b"# Server\r\nrun_id:52da\r\nconfig_file:\r\n\r\n# Persistence\r\naof_enabled:1\r\n";
        let want = [Value::Text("52da".into()), Value::Integer(1), Value::Null, Value::Text(String::new())];
        assert_eq!(parse(Rows::Reply, printed, &columns, 9).unwrap(), vec![want.to_vec()]);
        for (printed, kind, want) in [
            (&b"1795540030\n"[..], ColumnKind::Integer, Value::Integer(1_795_540_030)),
            (b"\"x\\ny\"\n", ColumnKind::Text, Value::Text("x\ny".into())),
            (b"\"\"\n", ColumnKind::Text, Value::Text(String::new())),
            (b"\"NULL\"\n", ColumnKind::Text, Value::Text("NULL".into())),
            (b"null\n", ColumnKind::Text, Value::Null),
        ] {
            assert_eq!(parse(Rows::Reply, printed, &[column(kind, None, true)], 9).unwrap(), vec![vec![want]]);
        }
        assert_eq!(parse(Rows::Reply, b"\"OK\"\n", &[], 9).unwrap(), Vec::<Vec<Value>>::new());
        for printed in [
            &b"# Server\r\nrun_id:a\r\nrun_id:b\r\naof_enabled:1\r\n"[..],
            b"# Server\r\nrun_id:a\r\n",
            b"# Server\r\nrun_id:a\r\naof_enabled:\r\n",
            b"# Server\r\nno name\r\n",
            b"error:\"ERR unknown\"\n",
            b"NOPERM this user has no permissions to run the 'info' command\n",
            b"[\"dir\",\"/x\"]\n",
            b"\"a\"\n\"b\"\n",
            b"",
        ] {
            let got = parse(Rows::Reply, printed, &columns, 9);
            assert!(matches!(got, Err(StatementError::Unexpected(_))), "{}", String::from_utf8_lossy(printed));
        }
    }

    #[test]
    fn what_is_not_declared_is_not_guessed() {
        let one = [column(ColumnKind::Integer, None, false)];
        for (format, printed) in [
            (Rows::TabSeparated, &b"1\t2\n"[..]),
            (Rows::TabSeparated, b"x\n"),
            (Rows::TabSeparated, b"NULL\n"),
            (Rows::Quoted, b"'1\n"),
            (Rows::Quoted, b"1 2\n"),
            (Rows::Quoted, b"\n"),
        ] {
            assert!(matches!(parse(format, printed, &one, 9), Err(StatementError::Unexpected(_))));
        }
        let text = [column(ColumnKind::Text, None, false)];
        for printed in [&b"Error: no\n"[..], b"\n", b"-\n", b"5'\n"] {
            assert!(matches!(parse(Rows::Quoted, printed, &text, 9), Err(StatementError::Unexpected(_))));
        }
        assert_eq!(parse(Rows::TabSeparated, b"1\n2\n", &one, 1), Err(StatementError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_survive(cells in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..4)) {
            let columns = vec![column(ColumnKind::Bytes, Some(Encoding::Hex), false); cells.len()];
            let line = cells.iter().map(hex::encode_upper).collect::<Vec<_>>().join("\t") + "\n";
            let want: Vec<Value> = cells.iter().cloned().map(Value::Bytes).collect();
            prop_assert_eq!(parse(Rows::TabSeparated, line.as_bytes(), &columns, 9).unwrap(), vec![want.clone()]);
            let columns = vec![column(ColumnKind::Bytes, None, false); cells.len()];
            let line = cells.iter().map(|c| format!("X'{}'", hex::encode(c))).collect::<Vec<_>>().join(",") + "\n";
            prop_assert_eq!(parse(Rows::Quoted, line.as_bytes(), &columns, 9).unwrap(), vec![want]);
        }

        #[test]
        fn nothing_that_a_client_prints_makes_it_panic(printed in prop::collection::vec(any::<u8>(), 0..200)) {
            let columns = [column(ColumnKind::Text, None, false), column(ColumnKind::Integer, None, true)];
            let _ = parse(Rows::TabSeparated, &printed, &columns, 9);
            let _ = parse(Rows::Quoted, &printed, &columns, 9);
            let _ = parse(Rows::Csv, &printed, &columns, 9);
            let _ = parse(Rows::QuotedCsv, &printed, &columns, 9);
            let _ = parse(Rows::List, &printed, &columns, 9);
            let _ = parse(Rows::Reply, &printed, &columns, 9);
        }
    }
}
