//! `allowed_signers`, whatever an operator or somebody else has written there.

use stillpoint::trust::revoked;
use stillpoint::trust::signers::{Reviewer, TYPES, parse};
use stillpoint_contract::NAMESPACE;

/// - What is refused is refused with words that name the line.
/// - Each reviewer has one plain name, that stands first on a line, and a key of a kind that is understood, for one of our
///   namespaces.
/// - No key is there twice, however it is written: as a key, as a fingerprint, and as a point on its curve.
/// - The time decides who may sign now, and nothing else.
/// - Written down again they are the same.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let at = |time: &str| parse(text, time.parse().unwrap());
    let all = match at("2026-06-15T12:00:00Z") {
        Ok(all) => all,
        Err(why) => return assert!(why.starts_with("line ") && why.contains(": "), "{why}"),
    };
    let again = all.iter().map(line).collect::<String>();
    let read = parse(&again, "2026-06-15T12:00:00Z".parse().unwrap()).expect(&again);
    assert!(same(&all, &read, true), "{again}");
    for time in ["1970-01-01T00:00:00Z", "9999-01-01T00:00:00Z"] {
        assert!(at(time).is_ok_and(|other| same(&all, &other, false)), "{time}");
    }
    let firsts: Vec<&str> = text.lines().filter_map(|l| l.split([' ', '\t']).find(|f| !f.trim().is_empty())).collect();
    for (i, r) in all.iter().enumerate() {
        let odd = |c: char| c.is_control() || c.is_whitespace() || "*?!,\"\\".contains(c);
        assert!(!r.principal.is_empty() && !r.principal.contains(odd), "{:?}", r.principal);
        assert!(!r.principal.starts_with('#') && firsts.iter().any(|f| f.trim() == r.principal), "{:?}", r.principal);
        assert!(r.namespaces.iter().any(|n| n == NAMESPACE || n == revoked::NAMESPACE), "{:?}", r.namespaces);
        assert!(TYPES.contains(&r.key.algorithm().as_str()));
        for other in &all[i + 1..] {
            assert_ne!(r.key.key_data(), other.key.key_data());
            assert_ne!(r.key.fingerprint(Default::default()), other.key.fingerprint(Default::default()));
        }
        if let Some(point) = r.key.key_data().ecdsa().map(AsRef::as_ref) {
            // The other form of the same point would be another key.
            assert_eq!(point.first(), Some(&4), "a point that OpenSSH does not write");
        }
    }
}

fn same(a: &[Reviewer], b: &[Reviewer], now: bool) -> bool {
    let one = |a: &Reviewer, b: &Reviewer| {
        (&a.principal, a.key.key_data(), &a.namespaces) == (&b.principal, b.key.key_data(), &b.namespaces)
            && (!now || a.not_valid == b.not_valid)
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| one(a, b))
}

fn line(r: &Reviewer) -> String {
    let key = r.key.to_openssh().unwrap();
    let when = r.not_valid.as_ref().map(|w| {
        let (name, time) = w.split_once('=').unwrap();
        format!(",{name}=\"{time}\"")
    });
    format!("{} namespaces=\"{}\"{} {key}\n", r.principal, r.namespaces.join(","), when.unwrap_or_default())
}
