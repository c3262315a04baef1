//! A declared statement and its arguments into text. What cannot be quoted with certainty is refused.

use stillpoint_contract::manifest::{Client, Parameter, Rows, Statement, argument_order};
use stillpoint_contract::message::{StatementError, Value};

/// The text to send, without its end. Arguments come in the order of [`argument_order`].
///
/// # Errors
/// [`StatementError::Undeclared`] for a wrong number or type of arguments, [`StatementError::Refused`] for a value out
/// of its range or that cannot be quoted.
pub fn render(client: &Client, statement: &Statement, arguments: &[Value]) -> Result<String, StatementError> {
    let order = argument_order(statement);
    if order.len() != arguments.len() {
        return Err(StatementError::Undeclared(format!(
            "it takes {} arguments, {} were given",
            order.len(),
            arguments.len()
        )));
    }
    let mut quoted = Vec::with_capacity(order.len());
    for (name, value) in order.iter().zip(arguments) {
        let parameter =
            statement.parameters.get(*name).ok_or_else(|| StatementError::Undeclared(format!("parameter {name}")))?;
        quoted.push((*name, literal(client, name, parameter, value)?));
    }
    let mut text = String::with_capacity(statement.text.len() + 32);
    let mut rest = statement.text.as_str();
    while let Some((before, tail)) = rest.split_once('{') {
        let Some((name, after)) = tail.split_once('}') else { break };
        text.push_str(before);
        if let Some((_, value)) = quoted.iter().find(|(n, _)| *n == name) {
            text.push_str(value);
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn literal(client: &Client, name: &str, parameter: &Parameter, value: &Value) -> Result<String, StatementError> {
    let refused = |why: &str| StatementError::Refused(format!("parameter {name}: {why}"));
    match (parameter, value) {
        (Parameter::Integer { from, to }, Value::Integer(n)) => {
            if n < from || n > to {
                return Err(refused(&format!("{n} is not between {from} and {to}")));
            }
            Ok(n.to_string())
        }
        (Parameter::Session, Value::Integer(n)) => Ok(n.to_string()),
        // Oracle's: two numbers and a comma, as text.
        (Parameter::Session, Value::Text(id))
            if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit() || b == b',') =>
        {
            Ok(format!("'{id}'"))
        }
        // The host has made the name a path, and said no to a name that is none.
        (Parameter::StateFile, Value::Text(path)) => {
            if path.chars().any(|c| c.is_control() || matches!(c, '\\' | '\'' | '"')) {
                return Err(refused("ipc_folder's path holds what cannot be quoted with certainty"));
            }
            Ok(format!("'{path}'"))
        }
        (Parameter::Identifier, Value::Text(text)) if client.rows == Rows::Reply => bare(text).map_err(|e| refused(&e)),
        // Words are split by rules of the client's own, which no quoting here is made for.
        (Parameter::Text { .. } | Parameter::Bytes { .. }, _) if client.rows == Rows::Reply => {
            Err(refused("this client is sent whole numbers and identifiers alone"))
        }
        (Parameter::Text { most }, Value::Text(text)) => {
            if text.len() > *most as usize {
                return Err(refused(&format!("longer than {most} bytes")));
            }
            if text.contains('\\') || text.chars().any(char::is_control) {
                return Err(refused("a backslash or a control character cannot be quoted with certainty"));
            }
            Ok(format!("'{}'", text.replace('\'', "''")))
        }
        (Parameter::Bytes { most }, Value::Bytes(bytes)) => {
            if bytes.len() > *most as usize {
                return Err(refused(&format!("longer than {most} bytes")));
            }
            Ok(format!("X'{}'", hex::encode(bytes)))
        }
        (Parameter::Identifier, Value::Text(text)) => {
            if text.is_empty() || text.len() > 128 {
                return Err(refused("an identifier has 1 to 128 bytes"));
            }
            if text.contains('\\') || text.chars().any(char::is_control) {
                return Err(refused("a backslash or a control character cannot be quoted with certainty"));
            }
            let q = client.identifier_quote.to_string();
            Ok(format!("{q}{}{q}", text.replace(&q, &format!("{q}{q}"))))
        }
        (Parameter::Text { .. } | Parameter::Bytes { .. }, Value::Null) => Ok("NULL".into()),
        _ => Err(StatementError::Undeclared(format!("parameter {name} is of another type"))),
    }
}

/// A word that every client reads as one word, and as no option.
fn bare(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.@-".contains(c);
    if (1..=128).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('-') {
        Ok(text.to_owned())
    } else {
        Err("this client is sent words of letters, digits, _ . @ and - alone".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::reach::Reach;

    #[test]
    fn no_argument_of_a_reply_becomes_two_words() {
        let client = Client { rows: Rows::Reply, ..Reach::for_tests().client };
        let told = |text: &str| literal(&client, "user", &Parameter::Identifier, &Value::Text(text.into()));
        assert_eq!(told("backup-1@host").unwrap(), "backup-1@host");
        for odd in ["", "a b", "a\"", "'a'", "a\nFLUSHALL", "a\\x20", "-x", "\u{e9}"] {
            assert!(matches!(told(odd), Err(StatementError::Refused(_))), "{odd}");
        }
        let text = literal(&client, "text", &Parameter::Text { most: 9 }, &Value::Text("a".into()));
        assert!(matches!(text, Err(StatementError::Refused(_))));
    }
}
