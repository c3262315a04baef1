//! What the login may do beside what it needs: asked of the server, compared with the manifest.

use stillpoint_contract::manifest::Privileges;
use stillpoint_contract::message::{Rows, StatementError, Value};
use tokio::time::Instant;

use super::Broker;

/// How many privileges too much are named.
const NAMED: usize = 6;

/// What is missing, and what is too much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// Without these nothing can be frozen: in words.
    pub missing: Vec<String>,
    /// Without these less is known: in words.
    pub wanted: Vec<String>,
    /// A role may grant these, which cannot be seen: in words.
    pub unsure: Vec<String>,
    /// What it may do and need not.
    pub excess: Vec<String>,
}

impl Login {
    /// The excess in one sentence; `None` when there is none.
    pub fn too_much(&self, workload: &str) -> Option<String> {
        let (named, more) = self.excess.split_at(self.excess.len().min(NAMED));
        if named.is_empty() {
            return None;
        }
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        let named = named.join(", ");
        Some(format!(
            "the login may do more than it needs to: {named}{more}. stillpoint privileges {workload} prints how to make \
             one that may not"
        ))
    }
}

impl Broker {
    /// Asks what the login may do. Nothing where the manifest does not say what it needs.
    ///
    /// # Errors
    /// [`StatementError`].
    pub async fn login(&mut self, deadline: Instant) -> Result<Login, StatementError> {
        let Some(privileges) = self.manifest.privileges.clone() else { return Ok(Login::default()) };
        let Some(held) = &privileges.held else { return Ok(Login::default()) };
        let mut out = Login::default();
        for rows in self.ask_each(held, deadline).await? {
            out.add(&privileges, &rows);
        }
        Ok(out)
    }
}

impl Login {
    /// What one answer adds: the login is another in each database.
    fn add(&mut self, privileges: &Privileges, rows: &Rows) {
        let text = |v: Option<&Value>| v.and_then(Value::text).map(str::to_owned);
        let role = rows.iter().find_map(|row| text(row.get(1)));
        let held: Vec<String> = rows.iter().filter_map(|row| text(row.first())).collect();
        for (name, needed) in &privileges.needed {
            if held.contains(name) || needed.before.as_ref().is_some_and(|b| held.contains(b)) {
                continue;
            }
            let words = format!("the login lacks the privilege {name}: {}", needed.why);
            match &role {
                Some(role) => push(&mut self.unsure, format!("unless its role {role} has it, {words}")),
                None if needed.must => push(&mut self.missing, words),
                None => push(&mut self.wanted, words),
            }
        }
        let known = |name: &String| {
            privileges.needed.contains_key(name)
                || privileges.usual.contains(name)
                || privileges.needed.values().any(|n| n.before.as_ref() == Some(name))
        };
        held.into_iter().filter(|name| !known(name)).for_each(|name| push(&mut self.excess, name));
    }
}

fn push(to: &mut Vec<String>, words: String) {
    if !to.contains(&words) {
        to.push(words);
    }
}
