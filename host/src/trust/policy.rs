//! `policy.toml`: how many people must have signed, and who among them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a trust root asks for. Without the file: two reviewers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Whose trust root this is: shown on every page.
    pub name: String,
    /// It holds throwaway keys on purpose: then no verdict mentions them.
    pub development: bool,
    /// How many distinct people must have signed. Keys and files do not count, authors neither.
    pub reviewers: u32,
    /// The role that at least one of them must have.
    pub role: Option<String>,
    /// Who has which role.
    pub roles: BTreeMap<String, Vec<String>>,
    /// What becomes of a module after its last day.
    pub expired: Expired,
}

/// What becomes of a module after its last day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expired {
    /// It still runs, and each verdict says so: a database does not lose its backup because a day has passed.
    Warn,
    /// It is refused.
    Refuse,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            name: "this machine".into(),
            development: false,
            reviewers: 2,
            role: None,
            roles: BTreeMap::new(),
            expired: Expired::Warn,
        }
    }
}

impl Policy {
    /// Reads one.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let policy: Policy = toml::from_str(text).map_err(|e| e.to_string())?;
        if policy.reviewers == 0 {
            return Err("reviewers = 0 would trust everybody; it is 1 or more".into());
        }
        if let Some(role) = &policy.role
            && policy.roles.get(role).is_none_or(Vec::is_empty)
        {
            return Err(format!("nobody has the role {role}: name them under  [roles]"));
        }
        Ok(policy)
    }

    /// Whether these people are enough.
    ///
    /// # Errors
    /// In words: who is missing.
    pub fn enough(&self, people: &[&str]) -> Result<(), String> {
        let needed = self.reviewers as usize;
        if people.len() < needed {
            return Err(format!("{} of {needed} reviewers have signed", people.len()));
        }
        match &self.role {
            Some(role) if !people.iter().any(|p| self.has(p, role)) => Err(format!("none of them has the role {role}")),
            _ => Ok(()),
        }
    }

    /// Whether this person has the role.
    pub fn has(&self, principal: &str, role: &str) -> bool {
        self.roles.get(role).is_some_and(|people| people.iter().any(|p| p == principal))
    }
}
