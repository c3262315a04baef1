//! The list of what is trusted no more: `revocations/revocations.toml`, signed as a module is.

use serde::{Deserialize, Serialize};

/// The namespace of its signatures.
pub const NAMESPACE: &str = "stillpoint.revocations.v1";

/// A list. The default one revokes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    /// The version of this schema: 1.
    pub format: u32,
    /// Rises with every list, from 1; an older one is not taken for a newer one.
    pub sequence: u64,
    /// Modules, by the SHA-256 of `module.toml` or of `module.wasm`.
    #[serde(default)]
    pub digests: Vec<Digest>,
    /// Keys of reviewers. None of their signatures counts, from whenever it is.
    #[serde(default)]
    pub keys: Vec<Key>,
}

/// A module that is trusted no more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// 64 hexadecimal digits, in lower case.
    pub sha256: String,
    /// For people.
    pub why: String,
}

/// A key that is trusted no more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// As `ssh-keygen -l` prints it: `SHA256:…`.
    pub fingerprint: String,
    /// For people.
    pub why: String,
}

impl Revocations {
    /// Reads one.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Revocations, String> {
        let list: Revocations = toml::from_str(text).map_err(|e| e.to_string())?;
        if list.format != 1 {
            return Err(format!("format = {} is not known; this build reads format = 1", list.format));
        }
        if list.sequence == 0 {
            return Err("sequence = 0 would leave nothing behind by which it is missed; it is 1 or more".into());
        }
        // A line with a slip of the pen would revoke nothing.
        let is_digest =
            |d: &Digest| d.sha256.len() == 64 && d.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if let Some(digest) = list.digests.iter().find(|d| !is_digest(d)) {
            return Err(format!("{} is no SHA-256: 64 hexadecimal digits in lower case", digest.sha256));
        }
        let is_key = |k: &Key| {
            let read = k.fingerprint.parse::<ssh_key::Fingerprint>();
            read.is_ok_and(|f| f.is_sha256() && f.to_string() == k.fingerprint)
        };
        if let Some(key) = list.keys.iter().find(|k| !is_key(k)) {
            return Err(format!("{} is no fingerprint such as SHA256:…", key.fingerprint));
        }
        Ok(list)
    }

    /// Why this key is revoked.
    pub fn key(&self, fingerprint: &str) -> Option<&str> {
        self.keys.iter().find(|k| k.fingerprint == fingerprint).map(|k| k.why.as_str())
    }

    /// Why a module with one of these digests is revoked.
    pub fn digest(&self, digests: &[&str]) -> Option<&str> {
        self.digests.iter().find(|d| digests.contains(&d.sha256.as_str())).map(|d| d.why.as_str())
    }
}
