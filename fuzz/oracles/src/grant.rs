//! What an administrator's files say: grants, `policy.toml`, the list of revocations; and whether one grant is within
//! another.

use std::collections::BTreeSet;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stillpoint::trust::authority::Authority;
use stillpoint::trust::grant::Grant;
use stillpoint::trust::policy::Policy;
use stillpoint::trust::revoked::Revocations;
use stillpoint_contract::manifest::{Limits, Parameter, Privileges, Statement};

/// The bytes are a text; behind a zero byte, what is replaced in it, and by what behind another one. That makes a second
/// text, which differs in one place.
///
/// - What is accepted is the same when it is written and read again; no policy is content with nobody; no list revokes
///   by a word that is no digest.
/// - Nothing is beyond itself.
/// - What is within a grant sends no text that is not in it, starts no program and no other arguments, imports nothing
///   else, has no wider bounds, and runs no statement at other times than the grant says. That is asked here word by
///   word, and not as the host compares.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parts: Vec<&str> = text.splitn(3, '\0').collect();
    let first = parts[0];
    let changed = match parts[..] {
        [_, from, to] if !from.is_empty() => first.replacen(from, to, 1),
        _ => first.to_owned(),
    };
    if let Ok(policy) = Policy::parse(first) {
        again(&policy, Policy::parse);
        assert!(policy.enough(&[]).is_err(), "nobody is enough");
    }
    if let Ok(list) = Revocations::parse(first) {
        again(&list, Revocations::parse);
        assert!(list.sequence > 0, "a list that leaves no floor behind can be taken away");
        assert!(list.digests.iter().all(|d| list.digest(&[&d.sha256]).is_some() && d.sha256.len() == 64));
        assert!(list.keys.iter().all(|k| list.key(&k.fingerprint).is_some() && k.fingerprint.starts_with("SHA256:")));
    }
    let Ok(a) = Grant::parse(first) else { return };
    again(&a, Grant::parse);
    assert_eq!(a.text().ok().and_then(|text| Grant::parse(&text).ok()).as_ref(), Some(&a), "its own text");
    assert_eq!(a.authority.wider(&a.authority), [], "it is beyond itself");
    let Ok(b) = Grant::parse(&changed) else { return };
    for (a, b) in [(&a.authority, &b.authority), (&b.authority, &a.authority)] {
        assert!(!a.wider(b).is_empty() || is_within(a, b));
        assert_eq!(a.changes(b).is_empty(), b.changes(a).is_empty());
    }
}

fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(read: &T, parse: fn(&str) -> Result<T, String>) {
    let written = toml::to_string(read).unwrap();
    assert_eq!(parse(&written).as_ref(), Ok(read), "{written}");
}

/// Panics where it is not.
fn is_within(a: &Authority, b: &Authority) -> bool {
    let subset = |a: &[String], b: &[String], what: &str| assert!(b.iter().all(|x| a.contains(x)), "{what}");
    let (granted, sent) = (texts(a), texts(b));
    assert!(sent.is_subset(&granted), "texts: {:?}", sent.difference(&granted));
    subset(&a.client.programs, &b.client.programs, "programs");
    assert_eq!(a.client.arguments, b.client.arguments);
    assert_eq!((&a.client.login, a.client.mode), (&b.client.login, b.client.mode));
    assert!(b.imports.iter().all(|i| a.imports.contains(i)), "imports");
    assert!(b.snapshots.iter().all(|s| a.snapshots.contains(s)), "snapshots");
    subset(&a.workloads, &b.workloads, "workloads");
    assert!(bounds(&a.limits).iter().zip(bounds(&b.limits)).all(|(a, b)| b <= *a), "limits");
    assert!(b.sessions.iter().all(|(name, s)| a.sessions.get(name) == Some(s)), "sessions");
    assert_eq!((&a.data, &a.identity, &a.world), (&b.data, &b.identity, &b.world));
    for (name, after) in &b.statements {
        statement(name, &a.statements[name], after);
    }
    true
}

/// Every text that somebody sends.
fn texts(a: &Authority) -> BTreeSet<&str> {
    let mut out: BTreeSet<&str> = a.statements.values().map(|s| s.text.as_str()).collect();
    out.extend([a.client.tag.as_str(), a.client.end.as_str()]);
    out.extend(a.client.read_only.as_deref());
    out.extend(a.client.setup.iter().map(String::as_str));
    out.extend(a.privileges.iter().flat_map(|p: &Privileges| &p.make).map(String::as_str));
    out
}

/// All of them, so that a new one is not forgotten.
fn bounds(limits: &Limits) -> [u32; 8] {
    let Limits { memory_mib, prepare_seconds, thaw_seconds, rows, answer_kib, state_kib, events, log_lines } = *limits;
    [memory_mib, prepare_seconds, thaw_seconds, rows, answer_kib, state_kib, events, log_lines]
}

fn statement(name: &str, a: &Statement, b: &Statement) {
    assert_eq!((&a.text, &a.session, a.effect), (&b.text, &b.session, b.effect), "{name}");
    assert_eq!((a.stops, a.lasts, &a.undo, &a.holds), (b.stops, b.lasts, &b.undo, &b.holds), "{name}");
    assert_eq!(a.columns.len(), b.columns.len(), "{name}");
    assert!(b.or_holds.is_none() || a.or_holds == b.or_holds, "{name}");
    assert!(a.recoverable || !b.recoverable, "{name}");
    assert!(a.parameters.keys().eq(b.parameters.keys()), "{name}");
    for (a, b) in a.parameters.values().zip(b.parameters.values()) {
        match (a, b) {
            (Parameter::Integer { from, to }, Parameter::Integer { from: least, to: most }) => {
                assert!(least >= from && most <= to, "{name}");
            }
            (Parameter::Text { most }, Parameter::Text { most: m })
            | (Parameter::Bytes { most }, Parameter::Bytes { most: m }) => assert!(m <= most, "{name}"),
            (a, b) => assert_eq!(a, b, "{name}"),
        }
    }
}
