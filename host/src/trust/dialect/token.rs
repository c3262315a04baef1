//! A statement's text cut into tokens, as its database reads it.

use super::Dialect;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A keyword or a bare name, in lower case; of MySQL's family with its `@`.
    Word(String),
    /// A name in quotes, in lower case.
    Name(String),
    /// In quotes that mean a name or a text, according to the server's mood.
    Either(String),
    /// A text in quotes.
    Text(String),
    /// A plain number.
    Number(String),
    /// `{name}`.
    Parameter(String),
    /// A comment, and whether some server runs what stands in it.
    Comment {
        /// `/*! … */`, `/*M! … */`, `/*+ … */`.
        runs: bool,
    },
    /// Any other character.
    Mark(char),
}

impl Token {
    /// The name that it may be, in quotes or not.
    pub fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Name(name) | Token::Either(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it is this keyword.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own == word)
    }
}

/// How a database reads quotes and comments.
struct Reading {
    /// A backslash within quotes takes the next character as it is.
    backslash: bool,
    /// `"` may quote a text.
    either: bool,
    /// `` ` `` quotes a name.
    backtick: bool,
    /// `[name]`.
    brackets: bool,
    /// `#` begins a comment, and `--` only before a space; `/*!` is run.
    mysql: bool,
    /// `$tag$ … $tag$` is a text.
    dollars: bool,
}

fn reading(dialect: Dialect) -> Reading {
    let sql = matches!(dialect, Dialect::Postgres | Dialect::Oracle | Dialect::Firebird);
    Reading {
        backslash: dialect == Dialect::MySql || dialect == Dialect::Redis,
        either: !sql,
        backtick: dialect == Dialect::MySql || dialect == Dialect::Sqlite,
        brackets: dialect == Dialect::Sqlite,
        mysql: dialect == Dialect::MySql,
        dollars: dialect == Dialect::Postgres,
    }
}

/// The tokens of a text.
///
/// # Errors
/// In words, where it cannot be read to its end.
pub fn tokens(dialect: Dialect, text: &str) -> Result<Vec<Token>, &'static str> {
    let how = reading(dialect);
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        if c.is_whitespace() {
            rest = after;
        } else if c == '\'' || c == '"' || (c == '`' && how.backtick) {
            let (value, behind) = quoted(after, c, how.backslash && c != '`').ok_or("a quote is not closed")?;
            out.push(match c {
                '\'' => Token::Text(value),
                '"' if how.either => Token::Either(value.to_lowercase()),
                _ => Token::Name(value.to_lowercase()),
            });
            rest = behind;
        } else if c == '[' && how.brackets {
            let (name, behind) = after.split_once(']').ok_or("a bracket is not closed")?;
            out.push(Token::Name(name.to_lowercase()));
            rest = behind;
        } else if let Some((tag, body)) = dollars(rest).filter(|_| how.dollars) {
            let (value, behind) = body.split_once(tag).ok_or("a text in dollars is not closed")?;
            out.push(Token::Text(value.into()));
            rest = behind;
        } else if let Some(body) = rest.strip_prefix("/*") {
            let run = body.strip_prefix("M!").or_else(|| body.strip_prefix('!')).filter(|_| how.mysql);
            out.push(Token::Comment { runs: run.is_some() || (how.mysql && body.starts_with('+')) });
            rest = match run {
                // What stands in it is read as the server reads it, from behind the version on.
                Some(run) => run.trim_start_matches(|c: char| c.is_ascii_digit()),
                None => body.split_once("*/").ok_or("a comment is not closed")?.1,
            };
        } else if rest.starts_with("*/") && how.mysql {
            rest = &rest[2..];
        } else if begins_line_comment(&how, rest) {
            out.push(Token::Comment { runs: false });
            rest = rest.split_once('\n').map_or("", |(_, behind)| behind);
        } else if let Some((name, behind)) = (c == '{').then(|| after.split_once('}')).flatten() {
            out.push(Token::Parameter(name.into()));
            rest = behind;
        } else if is_part_of_a_word(c) {
            let number = c.is_ascii_digit();
            let end = rest.find(|c| !(is_part_of_a_word(c) || number && c == '.')).unwrap_or(rest.len());
            let word = &rest[..end];
            rest = &rest[end..];
            let plain = word.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
            out.push(if plain { Token::Number(word.into()) } else { Token::Word(word.to_lowercase()) });
            let prefix = word.to_lowercase();
            if dialect == Dialect::Oracle && matches!(&*prefix, "q" | "nq") && rest.starts_with('\'') {
                return Err("a text in quotes of the author's choice: q'…'");
            }
            if dialect == Dialect::Postgres && prefix == "u" && rest.starts_with('&') {
                return Err("a name or a text whose letters are written as numbers: U&…");
            }
        } else {
            out.push(Token::Mark(c));
            rest = after;
        }
    }
    Ok(out)
}

fn begins_line_comment(how: &Reading, rest: &str) -> bool {
    let dashes = rest.strip_prefix("--");
    dashes.is_some_and(|d| !how.mysql || d.is_empty() || d.starts_with(char::is_whitespace))
        || (how.mysql && rest.starts_with('#'))
}

fn is_part_of_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '@') || (!c.is_ascii() && !c.is_whitespace())
}

/// The value up to the closing quote, and what comes behind it.
fn quoted(from: &str, quote: char, backslash: bool) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = from.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && backslash {
            out.push(chars.next()?.1);
        } else if c != quote {
            out.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            out.push(quote);
        } else {
            return Some((out, &from[at + c.len_utf8()..]));
        }
    }
    None
}

/// `$tag$`, and what comes behind it.
fn dollars(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix('$')?;
    let end = body.find('$')?;
    let tag = &body[..end];
    let good = !tag.starts_with(|c: char| c.is_ascii_digit()) && tag.chars().all(|c| c.is_alphanumeric() || c == '_');
    good.then(|| text.split_at(end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(dialect: Dialect, text: &str) -> Vec<String> {
        tokens(dialect, text).expect(text).iter().filter_map(|t| t.name()).map(str::to_owned).collect()
    }

    #[test]
    fn what_stands_in_quotes_is_no_word() {
        for (dialect, text) in [
            (Dialect::MySql, "SELECT 'a''b sleep(1)', {n}, 0.5"),
            (Dialect::MySql, r"SELECT 'a\' sleep(1) '"),
            (Dialect::Postgres, r"SELECT 'a\', $$sleep(1)$$, $x$ $$ $x$"),
            (Dialect::Oracle, "SELECT '--', 'x'"),
        ] {
            assert_eq!(words(dialect, text), ["select"], "{text}");
        }
    }

    #[test]
    fn what_only_looks_quoted_is_read() {
        for (dialect, text) in [
            (Dialect::Postgres, r"SELECT 'a\', sleep(1)"),
            (Dialect::MySql, "SELECT /*!50000 sleep(1) */"),
            (Dialect::MySql, "SELECT--sleep(1)"),
            (Dialect::Sqlite, "SELECT[sleep](1)"),
            (Dialect::Postgres, "SELECT \"SLEEP\"(1)"),
        ] {
            assert!(words(dialect, text).contains(&"sleep".to_owned()), "{text}");
        }
    }

    /// Nobody need have signed what is shown to a reviewer.
    #[test]
    fn a_long_text_keeps_nobody_waiting() {
        let begun = std::time::Instant::now();
        for (dialect, text) in
            [(Dialect::Sqlite, "("), (Dialect::MySql, "/*!"), (Dialect::Postgres, "$a "), (Dialect::MySql, "a ")]
        {
            assert!(tokens(dialect, &text.repeat(400_000)).is_ok_and(|t| t.len() == 400_000), "{text}");
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{:?}", begun.elapsed());
    }

    #[test]
    fn what_has_no_end_is_refused() {
        for text in ["SELECT 'a", "SELECT /* a", "SELECT \"a", "SELECT `a"] {
            assert!(tokens(Dialect::MySql, text).is_err(), "{text}");
        }
        assert!(tokens(Dialect::Oracle, "SELECT q'[it's]' FROM dual").is_err());
        assert!(tokens(Dialect::Postgres, "SELECT U&\"d!0061t\" UESCAPE '!'").is_err());
    }
}
