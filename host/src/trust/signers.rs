//! `allowed_signers`, in the format of OpenSSH (ssh-keygen(1), "ALLOWED SIGNERS"): a principal, options, a key.

use std::path::Path;

use jiff::Timestamp;
use ssh_key::PublicKey;
use stillpoint_contract::NAMESPACE;

/// One reviewer's key.
#[derive(Debug, Clone)]
pub struct Reviewer {
    /// Who.
    pub principal: String,
    /// With which key.
    pub key: PublicKey,
}

/// The reviewers whose keys may sign modules now.
///
/// # Errors
/// In words: an option that is not understood is refused, because to pass it over could widen the trust.
pub fn read(path: &Path) -> Result<Vec<Reviewer>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    parse(&text, Timestamp::now())
}

fn parse(text: &str, now: Timestamp) -> Result<Vec<Reviewer>, String> {
    let mut out = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |why: &str| format!("line {}: {why}", i + 1);
        let (principal, rest) = line.split_once(char::is_whitespace).ok_or_else(|| at("no key"))?;
        if principal.contains(['*', '?', '!', ',', '"']) {
            return Err(at("one plain principal on a line: patterns and lists are not understood"));
        }
        let rest = rest.trim_start();
        let key_at = rest.find("ssh-ed25519 ").ok_or_else(|| at("no key of type ssh-ed25519"))?;
        let (options, key) = rest.split_at(key_at);
        let mut for_modules = false;
        let mut valid = true;
        for option in options.trim().split(',').filter(|o| !o.is_empty()) {
            let (name, value) =
                option.split_once('=').ok_or_else(|| at(&format!("option {option} is not understood")))?;
            let value = value.trim_matches('"');
            match name {
                "namespaces" => for_modules = value == NAMESPACE,
                "valid-after" => {
                    valid &= now >= day(value).ok_or_else(|| at("valid-after is no date like 20260131"))?
                }
                "valid-before" => {
                    valid &= now < day(value).ok_or_else(|| at("valid-before is no date like 20260131"))?
                }
                _ => return Err(at(&format!("option {name} is not understood"))),
            }
        }
        if !for_modules {
            return Err(at(&format!("it needs namespaces=\"{NAMESPACE}\"")));
        }
        let key = PublicKey::from_openssh(key.trim()).map_err(|e| at(&format!("no key: {e}")))?;
        if valid {
            out.push(Reviewer { principal: principal.into(), key });
        }
    }
    Ok(out)
}

fn day(text: &str) -> Option<Timestamp> {
    let date = jiff::civil::Date::strptime("%Y%m%d", text).ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()
}
