//! A declared statement and its arguments into text. What cannot be quoted with certainty is refused.

use stillpoint_contract::manifest::{Client, Parameter, Statement, argument_order};
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
