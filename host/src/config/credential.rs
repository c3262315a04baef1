//! `credString`: the login string of the client, and the secret in it.

use std::fmt;

/// A secret that does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself: for the sealed file alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// What a login needs. What is absent is left to the client's own default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credential {
    /// `-u`, `--user`.
    pub user: Option<String>,
    /// `-h`, `--host`.
    pub host: Option<String>,
    /// `-P`, `--port`.
    pub port: Option<u16>,
    /// `-S`, `--socket`.
    pub socket: Option<String>,
    /// `-D`, `--database`.
    pub database: Option<String>,
    /// `--login-path`.
    pub login_path: Option<String>,
    /// `-p`, `--password`.
    pub password: Option<Secret>,
}

impl Credential {
    /// Reads the words of a login string. No word is repeated in an error: one of them may be the secret.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Credential, String> {
        let mut out = Credential::default();
        let mut words = text.split_whitespace();
        let mut number = 0;
        while let Some(word) = words.next() {
            number += 1;
            let (key, value) = split(word).ok_or_else(|| {
                format!("its word {number} is none of -u, -p, -h, -P, -S, -D, --login-path and their long forms")
            })?;
            let value = match value {
                Some(value) => value.to_owned(),
                None if key == "password" => return Err("a password stands right after -p, without a space".into()),
                None => {
                    number += 1;
                    words.next().ok_or_else(|| format!("{key} has no value"))?.to_owned()
                }
            };
            match key {
                "user" => out.user = Some(value),
                "host" => out.host = Some(value),
                "port" => out.port = Some(value.parse().map_err(|_| "port is no number from 0 to 65535".to_owned())?),
                "socket" => out.socket = Some(value),
                "database" => out.database = Some(value),
                "login-path" => out.login_path = Some(value),
                _ => out.password = Some(Secret(value)),
            }
        }
        Ok(out)
    }
}

/// The key of a word and the value that stands in the same word.
fn split(word: &str) -> Option<(&'static str, Option<&str>)> {
    const LONG: [&str; 7] = ["user", "host", "port", "socket", "database", "login-path", "password"];
    const SHORT: [(&str, &str); 6] =
        [("-u", "user"), ("-h", "host"), ("-P", "port"), ("-S", "socket"), ("-D", "database"), ("-p", "password")];
    if let Some(rest) = word.strip_prefix("--") {
        let (name, value) = rest.split_once('=').map_or((rest, None), |(n, v)| (n, Some(v)));
        return LONG.iter().find(|l| **l == name).map(|l| (*l, value));
    }
    let (key, rest) = SHORT.iter().find_map(|(s, key)| Some((*key, word.strip_prefix(s)?)))?;
    Some((key, (!rest.is_empty()).then_some(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_client_are_understood() {
        let c = Credential::parse("-u root -psecret --socket=/s -P 3307 --database x").unwrap();
        assert_eq!((c.user.as_deref(), c.socket.as_deref(), c.port), (Some("root"), Some("/s"), Some(3307)));
        assert_eq!(c.password.as_ref().map(Secret::expose), Some("secret"));
        assert!(!format!("{c:?}").contains("secret"));
    }

    #[test]
    fn other_words_are_refused_and_never_repeated() {
        for text in ["--password", "hunter2", "-u", "--ssl-ca=hunter2", "-P hunter2", "/hunter2@db"] {
            assert!(!Credential::parse(text).unwrap_err().contains("hunter2"));
        }
    }
}
