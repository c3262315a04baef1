//! A declared statement and its arguments into text: whatever the arguments.

use stillpoint::client::quote::render;
use stillpoint_contract::manifest::{Client, Effect, Mode, Parameter, Rows, Statement, argument_order, placeholders};
use stillpoint_contract::message::{StatementError, Value};

use crate::sql::{DIALECTS, Dialect, Token, tokens};

/// The most bytes of a text or of bytes.
const MOST: u32 = 64;
/// The integers that are taken.
const INTEGERS: std::ops::RangeInclusive<i64> = -1_000_000..=1_000_000;

/// The bytes, cut at each `0xFF`: first a statement's text, then an argument for each parameter in the order in which
/// the text names them, by its first character: `i`nteger, `t`ext, `x` for bytes, `n`ame, `0` for NULL.
///
/// For each text that a manifest may hold, and in every dialect: what [`render`] gives, cut into tokens by a reader that
/// knows nothing of it, is what the text alone is cut into, with one literal or name in place of each parameter, which
/// reads as the argument. So no argument ends its literal early, reaches into what stands beside it or begins a comment.
/// It stands on one line.
///
/// What is refused is longer or larger than declared, or holds a backslash or a control character, or is an empty name.
pub fn check(bytes: &[u8]) {
    let mut parts = bytes.split(|b| *b == 0xff);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    if placeholders(text).is_err() || text.contains("zzparameter") || text.chars().any(char::is_control) {
        return;
    }
    let mut statement = statement(text);
    let order: Vec<String> = argument_order(&statement).into_iter().map(str::to_owned).collect();
    let mut arguments = Vec::new();
    for name in &order {
        let Some((parameter, value)) = argument(parts.next().unwrap_or(b"i5")) else { return };
        statement.parameters.insert(name.clone(), parameter);
        arguments.push(value);
    }
    for dialect in &DIALECTS {
        let client = client(dialect);
        match render(&client, &statement, &arguments) {
            Ok(rendered) => {
                assert!(!rendered.chars().any(char::is_control), "{rendered:?} is not one line");
                let wanted = tokens(dialect, &marked(text, &order)).map(|t| filled(t, &statement, &order, &arguments));
                assert_eq!(tokens(dialect, &rendered), wanted, "{}: {rendered}", dialect.name);
            }
            Err(StatementError::Refused(_)) => {
                let pairs = order.iter().filter_map(|n| statement.parameters.get(n)).zip(&arguments);
                assert!(pairs.into_iter().any(|(p, v)| may_be_refused(p, v)), "{arguments:?} is refused");
            }
            Err(e) => panic!("{e}"),
        }
        assert!(render(&client, &statement, &[&arguments[..], &[Value::Null]].concat()).is_err(), "one too many");
    }
}

fn argument(bytes: &[u8]) -> Option<(Parameter, Value)> {
    let (kind, bytes) = bytes.split_first()?;
    let text = || std::str::from_utf8(bytes).ok().map(|t| Value::Text(t.to_owned()));
    Some(match kind {
        b't' => (Parameter::Text { most: MOST }, text()?),
        b'n' => (Parameter::Identifier, text()?),
        b'x' => (Parameter::Bytes { most: MOST }, Value::Bytes(bytes.to_vec())),
        b'0' => (Parameter::Text { most: MOST }, Value::Null),
        _ => {
            let number = std::str::from_utf8(bytes).ok()?.parse().ok()?;
            (Parameter::Integer { from: *INTEGERS.start(), to: *INTEGERS.end() }, Value::Integer(number))
        }
    })
}

fn may_be_refused(parameter: &Parameter, value: &Value) -> bool {
    let odd = |text: &str| text.contains('\\') || text.chars().any(char::is_control);
    match (parameter, value) {
        (Parameter::Identifier, Value::Text(name)) => name.is_empty() || name.len() > 128 || odd(name),
        (_, Value::Text(text)) => text.len() > MOST as usize || odd(text),
        (_, Value::Bytes(bytes)) => bytes.len() > MOST as usize,
        (_, Value::Integer(number)) => !INTEGERS.contains(number),
        (_, Value::Null) => false,
    }
}

/// A word that stands for a parameter while the text is cut.
fn word(number: usize) -> String {
    format!("zzparameter{number}zz")
}

/// The text with a word in place of each parameter.
fn marked(text: &str, order: &[String]) -> String {
    let fill = |text: String, (number, name): (usize, &String)| text.replace(&format!("{{{name}}}"), &word(number));
    order.iter().enumerate().fold(text.to_owned(), fill)
}

/// The tokens with an argument's own in place of each parameter.
fn filled(cut: Vec<Token>, statement: &Statement, order: &[String], arguments: &[Value]) -> Vec<Token> {
    let mut out = Vec::new();
    for token in cut {
        let number = (0..order.len()).find(|n| token == Token::Word(word(*n)));
        let Some(number) = number else {
            out.push(token);
            continue;
        };
        match &arguments[number] {
            Value::Null => out.push(Token::Word("NULL".into())),
            Value::Integer(n) => {
                out.extend((*n < 0).then_some(Token::Mark('-')));
                out.push(Token::Word(n.unsigned_abs().to_string()));
            }
            Value::Bytes(bytes) => out.push(Token::Bytes(hex::encode(bytes))),
            Value::Text(text) if statement.parameters.get(&order[number]) == Some(&Parameter::Identifier) => {
                out.push(Token::Name(text.clone()));
            }
            Value::Text(text) => out.push(Token::Text(text.clone())),
        }
    }
    out
}

fn statement(text: &str) -> Statement {
    Statement {
        session: "main".into(),
        text: text.into(),
        parameters: std::collections::BTreeMap::new(),
        columns: Vec::new(),
        effect: Effect::Read,
        stops: None,
        lasts: None,
        undo: None,
        holds: None,
        or_holds: None,
        recoverable: false,
        foreign: None,
        snapshots: Vec::new(),
    }
}

fn client(dialect: &Dialect) -> Client {
    Client {
        mode: Mode::Session,
        programs: Vec::new(),
        login: None,
        arguments: Vec::new(),
        environment: std::collections::BTreeMap::new(),
        setup: Vec::new(),
        errors: stillpoint_contract::manifest::Printed::StandardError,
        end: ";".into(),
        tag: String::new(),
        rows: Rows::Quoted,
        error: String::new(),
        read_only: None,
        lost: Vec::new(),
        identifier_quote: dialect.identifier_quote,
    }
}
