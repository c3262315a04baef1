//! SQL cut into tokens: no more of it than where literals, names and comments begin and end.

/// How a database reads quotes and comments.
#[derive(Debug)]
pub struct Dialect {
    /// Of this database.
    pub name: &'static str,
    /// What the module's manifest declares.
    pub identifier_quote: char,
    /// A backslash in a literal takes the next character as it is.
    backslash: bool,
    /// These quote a text; `'` always does.
    text: &'static [char],
    /// These quote a name.
    identifier: &'static [char],
    /// `[name]`.
    brackets: bool,
    /// `#` begins a comment.
    hash: bool,
    /// `--` begins a comment only before a space.
    space: bool,
    /// `$tag$ … $tag$` is a text.
    dollars: bool,
}

/// The dialects in which a statement is tried.
pub const DIALECTS: [Dialect; 4] = [
    Dialect {
        name: "SQLite",
        identifier_quote: '"',
        backslash: false,
        text: &['\''],
        identifier: &['"', '`'],
        brackets: true,
        hash: false,
        space: false,
        dollars: false,
    },
    Dialect {
        name: "MariaDB",
        identifier_quote: '`',
        backslash: true,
        text: &['\'', '"'],
        identifier: &['`'],
        brackets: false,
        hash: true,
        space: true,
        dollars: false,
    },
    Dialect {
        name: "MariaDB with ANSI_QUOTES and NO_BACKSLASH_ESCAPES",
        identifier_quote: '`',
        backslash: false,
        text: &['\''],
        identifier: &['`', '"'],
        brackets: false,
        hash: true,
        space: true,
        dollars: false,
    },
    Dialect {
        name: "PostgreSQL",
        identifier_quote: '"',
        backslash: false,
        text: &['\''],
        identifier: &['"'],
        brackets: false,
        hash: false,
        space: false,
        dollars: true,
    },
];

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A keyword, a bare name or a number.
    Word(String),
    /// A literal text, as its value.
    Text(String),
    /// A quoted name, as its value.
    Name(String),
    /// `X'…'`: its digits.
    Bytes(String),
    /// A comment, as it stands.
    Comment(String),
    /// Any other character.
    Mark(char),
}

/// The tokens of a text. `None` when a quote or a comment is not closed.
pub fn tokens(dialect: &Dialect, sql: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let line = || rest.split_once('\n').map_or(rest, |(line, _)| line);
        let dashes = rest.strip_prefix("--");
        let token;
        (token, rest) = if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
            continue;
        } else if dialect.text.contains(&c) {
            let (value, rest) = quoted(rest, c, dialect.backslash)?;
            (Token::Text(value), rest)
        } else if dialect.identifier.contains(&c) {
            let (value, rest) = quoted(rest, c, false)?;
            (Token::Name(value), rest)
        } else if c == '[' && dialect.brackets {
            let (name, rest) = rest[1..].split_once(']')?;
            (Token::Name(name.into()), rest)
        } else if c == '$' && dialect.dollars && dollars(rest).is_some() {
            let (tag, body) = dollars(rest)?;
            let (value, rest) = body.split_once(tag)?;
            (Token::Text(value.into()), rest)
        } else if dashes.is_some_and(|d| !dialect.space || d.is_empty() || d.starts_with(char::is_whitespace))
            || (c == '#' && dialect.hash)
        {
            (Token::Comment(line().into()), &rest[line().len()..])
        } else if let Some(body) = rest.strip_prefix("/*") {
            let (comment, rest) = body.split_once("*/")?;
            (Token::Comment(comment.into()), rest)
        } else if let Some(body) = rest.strip_prefix("X'").or_else(|| rest.strip_prefix("x'")) {
            let (digits, rest) = body.split_once('\'')?;
            (Token::Bytes(digits.into()), rest)
        } else if is_part_of_a_word(c) {
            let end = rest.find(|c| !is_part_of_a_word(c)).unwrap_or(rest.len());
            (Token::Word(rest[..end].into()), &rest[end..])
        } else {
            (Token::Mark(c), &rest[c.len_utf8()..])
        };
        out.push(token);
    }
    Some(out)
}

fn is_part_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '@') || (!c.is_ascii() && !c.is_whitespace())
}

/// The value of what begins with this quote, and what comes behind it.
fn quoted(from: &str, quote: char, backslash: bool) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = from.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && backslash {
            out.push(chars.next()?.1);
        } else if c != quote {
            out.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            out.push(quote);
        } else {
            return Some((out, &from[at + 1..]));
        }
    }
    None
}

/// `$tag$` and what comes behind it.
fn dollars(from: &str) -> Option<(&str, &str)> {
    let end = 1 + from[1..].find(|c: char| !c.is_alphanumeric() && c != '_')?;
    from[end..].starts_with('$').then(|| from.split_at(end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Token {
        Token::Word(text.into())
    }

    #[test]
    fn a_literal_that_ends_early_is_seen() {
        let [sqlite, mariadb, ansi, postgres] = &DIALECTS;
        let good = [word("a"), Token::Mark('='), Token::Text("it's".into())];
        for dialect in &DIALECTS {
            assert_eq!(tokens(dialect, "a = 'it''s'").unwrap(), good);
            let bad = [Token::Text("it".into()), word("OR"), word("1")];
            assert_eq!(tokens(dialect, "'it' OR 1").unwrap(), bad);
            assert_eq!(tokens(dialect, "'it"), None);
            assert_eq!(tokens(dialect, "x'0a'").unwrap(), [Token::Bytes("0a".into())]);
        }
        assert_eq!(tokens(mariadb, r"'\' OR 1"), None);
        assert_eq!(tokens(sqlite, r"'\' OR 1").unwrap().len(), 3);
        assert_eq!(tokens(ansi, r"'\' OR 1").unwrap().len(), 3);
        assert_eq!(tokens(mariadb, "\"a\"").unwrap(), [Token::Text("a".into())]);
        assert_eq!(tokens(ansi, "\"a\"").unwrap(), [Token::Name("a".into())]);
        assert_eq!(tokens(sqlite, "['] `b`").unwrap(), [Token::Name("'".into()), Token::Name("b".into())]);
        assert_eq!(tokens(postgres, "$a$'$a$ $$ $$").unwrap(), [Token::Text("'".into()), Token::Text(" ".into())]);
    }

    #[test]
    fn a_comment_is_seen() {
        let [sqlite, mariadb, ..] = &DIALECTS;
        assert_eq!(tokens(sqlite, "1--5").unwrap(), [word("1"), Token::Comment("--5".into())]);
        assert_eq!(tokens(mariadb, "1--5").unwrap().len(), 4);
        assert_eq!(tokens(mariadb, "1-- 5").unwrap().len(), 2);
        assert_eq!(tokens(mariadb, "1 # 5").unwrap().len(), 2);
        assert_eq!(tokens(sqlite, "1 /* ' */ 5").unwrap().len(), 3);
    }
}
