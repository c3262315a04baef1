//! `module keys`: whom this machine trusts, and what it asks of them.

use std::collections::BTreeSet;

use ssh_key::HashAlg;
use stillpoint_contract::NAMESPACE;

use super::root;
use crate::cli::{Context, Output, screen};
use crate::fault::{Exit, Fault, plain};
use crate::trust::Root;
use crate::trust::policy::Expired;
use crate::trust::signers::Reviewer;

pub fn keys(context: &Context) -> Result<Exit, Fault> {
    let root = root(context)?;
    let fingerprint = |r: &Reviewer| r.key.fingerprint(HashAlg::Sha256).to_string();
    let roles = |r: &Reviewer| -> Vec<&str> {
        root.policy.roles.keys().filter(|role| root.policy.has(&r.principal, role)).map(String::as_str).collect()
    };
    let revoked = |r: &Reviewer| root.revocations.key(&fingerprint(r)).map(str::to_owned);
    let doubts = doubts(&root);
    match context.output {
        Output::Json => {
            let reviewers: Vec<_> = root
                .reviewers
                .iter()
                .map(|r| {
                    serde_json::json!({
                        "principal": r.principal,
                        "key": fingerprint(r),
                        "type": r.key.algorithm().as_str(),
                        "namespaces": r.namespaces,
                        "roles": roles(r),
                        "not_valid": r.not_valid,
                        "revoked": revoked(r),
                    })
                })
                .collect();
            screen::say(serde_json::json!({
                "policy": root.policy, "reviewers": reviewers, "revocations": root.revocations, "doubts": doubts,
            }));
        }
        Output::Text => {
            let policy = &root.policy;
            let people = match policy.reviewers {
                1 => "one person must have signed".to_owned(),
                n => format!("{n} people must have signed"),
            };
            let role = policy.role.as_ref().map(|r| format!(", one of them with the role {}", plain(r)));
            let name = plain(&policy.name);
            screen::say(format_args!("trust root  {name}: {people}{}", role.unwrap_or_default()));
            if policy.development {
                screen::say("            for development: its keys are thrown away");
            }
            let expired = match policy.expired {
                Expired::Warn => "still run, with a warning",
                Expired::Refuse => "are refused",
            };
            screen::say(format_args!("            modules after their last day {expired}"));
            for r in &root.reviewers {
                let state = match (&r.not_valid, revoked(r)) {
                    (_, Some(why)) => format!("   REVOKED: {}", plain(&why)),
                    (Some(why), None) => format!("   not valid today: {}", plain(why)),
                    (None, None) => String::new(),
                };
                let roles = roles(r).iter().map(|role| format!("   {}", plain(role))).collect::<String>();
                let (who, key) = (plain(&r.principal), fingerprint(r));
                screen::say(format_args!("  {who}  {} {key}{roles}{state}", r.key.algorithm().as_str()));
            }
            let list = &root.revocations;
            if list.sequence > 0 {
                let (modules, keys) = (list.digests.len(), list.keys.len());
                screen::say(format_args!("revoked     modules: {modules}, keys: {keys} (list {})", list.sequence));
            }
            for doubt in doubts {
                screen::say(format_args!("! {}", plain(&doubt)));
            }
        }
    }
    Ok(Exit::Done)
}

/// What will keep modules from being trusted, or was hardly meant.
fn doubts(root: &Root) -> Vec<String> {
    let may = |r: &&Reviewer| {
        let fingerprint = r.key.fingerprint(HashAlg::Sha256).to_string();
        r.not_valid.is_none()
            && root.revocations.key(&fingerprint).is_none()
            && r.namespaces.iter().any(|n| n == NAMESPACE)
    };
    let people: BTreeSet<&str> = root.reviewers.iter().filter(may).map(|r| r.principal.as_str()).collect();
    let mut out = Vec::new();
    if people.len() < root.policy.reviewers as usize {
        let needed = root.policy.reviewers;
        out.push(format!(
            "{} of the {needed} people who must have signed can: no module will be trusted",
            people.len()
        ));
    }
    for (role, names) in &root.policy.roles {
        for name in names.iter().filter(|n| !root.reviewers.iter().any(|r| r.principal == **n)) {
            out.push(format!("{name} has the role {role} and no key in allowed_signers"));
        }
    }
    out
}
