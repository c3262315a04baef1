//! `allowed_signers`, in the format of OpenSSH (ssh-keygen(1), "ALLOWED SIGNERS"): a principal, options, a key.
//!
//! Read more strictly than OpenSSH does, because what is passed over could widen the trust:
//! - one plain principal on a line, no lists and no patterns, and each key on one line only: a key is one person;
//! - `namespaces` is needed; a line for other namespaces is passed over, as its words ask;
//! - `valid-after` and `valid-before` are times in UTC, with or without `Z`;
//! - other options, and keys of other types than those in [`TYPES`], are refused.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;
use stillpoint_contract::NAMESPACE;

use super::revoked;

/// The types of keys that are understood: plain ones, and those of security keys.
pub const TYPES: [&str; 5] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The first byte of a point that is written whole (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// One reviewer's key.
#[derive(Debug, Clone)]
pub struct Reviewer {
    /// Who.
    pub principal: String,
    /// With which key.
    pub key: PublicKey,
    /// For which namespaces the key may sign.
    pub namespaces: Vec<String>,
    /// Why the key may not sign now; `None` when it may.
    pub not_valid: Option<String>,
}

/// The reviewers whose keys may sign modules, now or at another time.
///
/// # Errors
/// In words, with the line.
pub fn parse(text: &str, now: Timestamp) -> Result<Vec<Reviewer>, String> {
    let mut out: Vec<Reviewer> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let read = reviewer(line, now).map_err(|why| format!("line {}: {why}", i + 1))?;
        let Some(reviewer) = read else { continue };
        if let Some(same) = out.iter().find(|r| r.key.key_data() == reviewer.key.key_data()) {
            return Err(format!("line {}: the key of {} is there twice", i + 1, same.principal));
        }
        out.push(reviewer);
    }
    Ok(out)
}

/// `None` for a line that is for other namespaces.
fn reviewer(line: &str, now: Timestamp) -> Result<Option<Reviewer>, String> {
    let mut fields = fields(line)?.into_iter();
    let principal = fields.next().unwrap_or_default();
    // What is not seen, or ends a field for others, would be one person for us and another for who reads.
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '*' | '?' | '!' | ',' | '"' | '\\');
    if principal.contains(odd) {
        return Err("one plain principal on a line: patterns and lists are not understood".into());
    }
    let mut field = fields.next().ok_or("there is no key")?;
    let options =
        if is_key_type(field) { "" } else { std::mem::replace(&mut field, fields.next().unwrap_or_default()) };
    let mut namespaces: Option<Vec<String>> = None;
    let mut not_valid = None;
    let mut seen = Vec::new();
    for option in split(options, ',')? {
        let (name, value) = option.split_once('=').ok_or_else(|| format!("option {option} is not understood"))?;
        let value = value
            .strip_prefix('"')
            .and_then(|v| v.strip_suffix('"'))
            .ok_or_else(|| format!("the value of {name} stands in double quotes"))?;
        let name = name.to_ascii_lowercase();
        if seen.contains(&name) {
            return Err(format!("option {name} is there twice"));
        }
        match name.as_str() {
            "namespaces" if !value.contains(['*', '?', '!', ' ', '\t', '"', '\\']) => {
                namespaces = Some(value.split(',').map(str::to_owned).collect());
            }
            "valid-after" if now < time(value)? => not_valid = Some(format!("valid-after={value}")),
            "valid-before" if now >= time(value)? => not_valid = Some(format!("valid-before={value}")),
            "valid-after" | "valid-before" => {}
            _ => return Err(format!("option {option} is not understood")),
        }
        seen.push(name);
    }
    let Some(namespaces) = namespaces else { return Err(format!("it needs the option namespaces=\"{NAMESPACE}\"")) };
    if !namespaces.iter().any(|n| n == NAMESPACE || n == revoked::NAMESPACE) {
        return Ok(None);
    }
    if !TYPES.contains(&field) {
        return Err(format!("there is no key of a type that is understood: {}", TYPES.join(", ")));
    }
    let key = fields.next().ok_or("there is no key")?;
    let key = PublicKey::from_openssh(&format!("{field} {key}")).map_err(|e| format!("the key cannot be read: {e}"))?;
    if is_compressed(key.key_data()) {
        return Err("the key is written as OpenSSH does not write it, and would be another key than itself".into());
    }
    Ok(Some(Reviewer { principal: principal.into(), key, namespaces, not_valid }))
}

/// A point on a curve can be written in two ways. OpenSSH knows the long one.
fn is_compressed(key: &KeyData) -> bool {
    match key {
        KeyData::Ecdsa(key) => key.as_ref().first() != Some(&UNCOMPRESSED),
        KeyData::SkEcdsaSha2NistP256(key) => key.ec_point().as_bytes().first() != Some(&UNCOMPRESSED),
        _ => false,
    }
}

fn is_key_type(field: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|t| field.starts_with(t))
}

/// The fields of a line; blanks inside double quotes are part of one.
fn fields(line: &str) -> Result<Vec<&str>, String> {
    Ok(split(line, ' ')?.into_iter().filter(|f| !f.is_empty()).collect())
}

/// Splits at `at` (a space stands for a tab too), but not inside double quotes.
fn split(text: &str, at: char) -> Result<Vec<&str>, String> {
    let mut quoted = false;
    let parts = text
        .split(|c: char| {
            quoted ^= c == '"';
            !quoted && (c == at || at == ' ' && c == '\t')
        })
        .filter(|p| !p.is_empty())
        .collect();
    if text.matches('"').count() % 2 == 1 { Err("a quote is not closed".into()) } else { Ok(parts) }
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, and perhaps `Z`.
fn time(text: &str) -> Result<Timestamp, String> {
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let read = match digits.len() {
        8 => Date::strptime("%Y%m%d", digits).map(|d| d.at(0, 0, 0, 0)),
        12 => DateTime::strptime("%Y%m%d%H%M", digits),
        _ => DateTime::strptime("%Y%m%d%H%M%S", digits),
    };
    read.ok()
        .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|t| TimeZone::UTC.to_timestamp(t).ok())
        .ok_or_else(|| format!("{text} is no time such as 20260131 or 202601311200Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJk9Rc5M6xrpYIJkO+Zg2hfQUEiAZpNjr0mdaUzWOVoN";

    const COMPRESSED: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAAAhA4QGVMcPf2AVJWIIzqsRKSR8dA88PiyN4vtudFUQXOwk";

    fn read(text: &str) -> Result<Vec<(String, bool)>, String> {
        let now = "2026-06-15T12:00:00Z".parse().unwrap();
        Ok(parse(text, now)?.into_iter().map(|r| (r.principal, r.not_valid.is_none())).collect())
    }

    fn valid(options: &str) -> Result<bool, String> {
        Ok(read(&format!("ana namespaces=\"{NAMESPACE}\"{options} {KEY} a comment\n"))?[0].1)
    }

    #[test]
    fn the_format_of_openssh_is_understood() {
        let text = format!(
            "# reviewers\n\nana@example.org namespaces=\"{NAMESPACE}\" {KEY} ana's laptop\n\
             \tbo \t namespaces=\"git,{NAMESPACE}\",valid-before=\"20260101\"\t{OTHER}\n\
             git namespaces=\"git\" {KEY}\nci namespaces=\"git\" ssh-rsa AAAAB3Nza\n"
        );
        assert_eq!(read(&text).unwrap(), [("ana@example.org".to_owned(), true), ("bo".to_owned(), false)]);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn a_key_is_valid_from_and_to_a_time() {
        for (options, expected) in [
            ("", true),
            (",valid-after=\"20260615\"", true),
            (",valid-after=\"20260616Z\"", false),
            (",valid-after=\"202606151200Z\",valid-before=\"20260615120001\"", true),
            (",valid-before=\"202606151200\"", false),
        ] {
            assert_eq!(valid(options), Ok(expected), "{options}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (line, word) in [
            (format!("ana {KEY}"), "needs the option namespaces"),
            (format!("an\u{1b}[2Ja namespaces=\"{NAMESPACE}\" {KEY}"), "one plain principal"),
            (format!("ana\u{a0}bo namespaces=\"{NAMESPACE}\" {KEY}"), "one plain principal"),
            (format!("ana namespaces=\"{NAMESPACE},a\"b\"c\" {KEY}"), "is not understood"),
            (format!("ana namespaces=\"{NAMESPACE}\" {COMPRESSED}"), "as OpenSSH does not write it"),
            (format!("* namespaces=\"{NAMESPACE}\" {KEY}"), "patterns"),
            (format!("ana,bo namespaces=\"{NAMESPACE}\" {KEY}"), "lists"),
            (format!("ana namespaces=\"*\" {KEY}"), "namespaces=\"*\" is not understood"),
            (format!("ana cert-authority,namespaces=\"{NAMESPACE}\" {KEY}"), "cert-authority is not understood"),
            (format!("ana namespaces=\"{NAMESPACE}\",x=\"y\" {KEY}"), "x=\"y\" is not understood"),
            (format!("ana namespaces=\"git, {NAMESPACE}\" {KEY}"), "is not understood"),
            (
                format!("ana namespaces=\"{NAMESPACE}\",valid-after=\"20200101\",valid-after=\"20210101\" {KEY}"),
                "twice",
            ),
            (format!("ana namespaces={NAMESPACE} {KEY}"), "double quotes"),
            (format!("ana namespaces=\"{NAMESPACE} {KEY}"), "quote is not closed"),
            (format!("ana namespaces=\"{NAMESPACE}\",valid-after=\"tomorrow\" {KEY}"), "no time"),
            (
                format!("ana namespaces=\"{NAMESPACE}\" ssh-rsa AAAAB3Nza"),
                "no key of a type that is understood: ssh-ed25519",
            ),
            (format!("ana namespaces=\"{NAMESPACE}\" ssh-ed25519"), "there is no key"),
            (format!("ana namespaces=\"{NAMESPACE}\" ssh-ed25519 AAAA"), "cannot be read"),
            (format!("ana namespaces=\"{NAMESPACE}\" {KEY}\nbo namespaces=\"{NAMESPACE}\" {KEY}"), "twice"),
            ("ana".into(), "there is no key"),
        ] {
            let why = read(&line).unwrap_err();
            assert!(why.starts_with("line ") && why.contains(word), "{line}: {why}");
        }
    }
}
