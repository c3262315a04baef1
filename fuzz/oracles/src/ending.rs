//! How the end of an answer and an error are known in what a client printed: whatever it prints.

use std::sync::LazyLock;

use regex_lite::Regex;
use stillpoint::client::session::{errors, find_tag};
use stillpoint_contract::manifest::Manifest;

const TAG: &str = "stillpoint-00112233445566778899aabbccddeeff-7";

static MARIADB: LazyLock<Regex> = LazyLock::new(|| pattern(include_str!("../../../modules/mariadb/module.toml")));
static SQLITE: LazyLock<Regex> = LazyLock::new(|| pattern(include_str!("../../../modules/sqlite/module.toml")));

fn pattern(manifest: &str) -> Regex {
    Regex::new(&Manifest::parse(manifest).expect("our own manifest").client.error).expect("our own pattern")
}

/// On standard output (each `§` is made the tag): the tag is found exactly where the last line is the tag, whole, alone
/// and ended, bare or in quotes; what comes before it is whole lines. While a tag is still on its way, it is not
/// found; after it, nothing is.
///
/// On standard error:
///
/// - an error is one line, its parts are parts of that line, and no line gives two;
/// - MariaDB's are exactly those that a reader written by hand finds;
/// - SQLite's begin with one of its words, and their message is not cut at the front;
/// - an error that is read before its line has come whole has the code that it has in the end.
pub fn check(bytes: &[u8]) {
    tag(bytes);
    let mariadb = errors(&MARIADB, bytes);
    let text = String::from_utf8_lossy(bytes);
    let by_hand: Vec<_> = text.lines().filter_map(mariadb_error).collect();
    let found: Vec<_> = mariadb.iter().map(|e| (e.code.as_str(), e.state.as_str(), e.message.as_str())).collect();
    assert_eq!(found, by_hand);
    let sqlite = errors(&SQLITE, bytes);
    let lines: Vec<&str> =
        text.lines().filter(|l| ["Runtime error", "Parse error", "Error"].iter().any(|w| l.starts_with(w))).collect();
    assert!(sqlite.len() <= lines.len());
    for error in &sqlite {
        let from = |l: &&str| {
            let end = if error.code.is_empty() { String::new() } else { format!(" ({})", error.code) };
            l.strip_suffix(&end).is_some_and(|l| l.ends_with(&error.message))
        };
        assert!(error.state.is_empty() && error.code.bytes().all(|b| b.is_ascii_digit()), "{error:?}");
        assert!(lines.iter().any(from), "{error:?} is in no line");
    }
    let half = errors(&MARIADB, &bytes[..bytes.len() / 2]);
    assert!(half.len() <= mariadb.len(), "an error was taken back");
    assert!(half.iter().zip(&mariadb).all(|(half, whole)| half.code == whole.code), "its code has changed");
}

fn tag(bytes: &[u8]) {
    let mut printed = Vec::with_capacity(bytes.len() + 256);
    let mut rest = bytes;
    while let Some(at) = rest.windows(2).position(|w| w == "§".as_bytes()) {
        printed.extend_from_slice(&rest[..at]);
        printed.extend_from_slice(TAG.as_bytes());
        rest = &rest[at + 2..];
    }
    printed.extend_from_slice(rest);
    let found = find_tag(&printed, TAG.as_bytes());
    let lines: Vec<&[u8]> = printed.split_inclusive(|b| *b == b'\n').collect();
    let forms = [format!("'{TAG}'\n"), format!("\"{TAG}\"\n"), format!("{TAG}\n")];
    // What prints it may print the statement's end behind it.
    let without_end = |line: &[u8]| match line.strip_suffix(b";\n") {
        Some(line) => [line, b"\n"].concat(),
        None => line.to_vec(),
    };
    let is_tag = |line: &[u8]| forms.iter().any(|form| without_end(line) == form.as_bytes());
    let wanted = lines.split_last().filter(|(last, _)| last.ends_with(b"\n") && is_tag(last));
    assert_eq!(found, wanted.map(|(last, _)| printed.len() - last.len()));
    if let Some(at) = found {
        assert!(at == 0 || printed[at - 1] == b'\n', "half a line before the tag");
        for missing in 1..=printed.len() - at {
            assert_eq!(find_tag(&printed[..printed.len() - missing], TAG.as_bytes()).filter(|n| *n == at), None);
        }
        assert_eq!(find_tag(&[&printed, &b"x\n"[..]].concat(), TAG.as_bytes()), None);
    }
}

/// `ERROR 1064 (42000) at line 1: message`.
fn mariadb_error(line: &str) -> Option<(&str, &str, &str)> {
    let rest = line.strip_prefix("ERROR ")?;
    let (code, rest) = rest.split_once(" (")?;
    let (state, rest) = rest.split_once(')')?;
    let number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    let rest = match rest.strip_prefix(" at line ").and_then(|r| r.split_once(':')) {
        Some((line, message)) if number(line) => message,
        Some(_) => return None,
        None => rest.strip_prefix(':')?,
    };
    let word = !state.is_empty() && state.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (number(code) && word).then_some(())?;
    Some((code, state, rest.strip_prefix(' ')?))
}
