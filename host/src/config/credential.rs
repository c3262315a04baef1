//! `credString`: the login string of the client, and the secret in it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// A secret that does not print itself, and is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Of these words.
    pub fn of(text: String) -> Secret {
        Secret(text)
    }

    /// The secret itself: for the sealed file, or the client's standard input, alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The words of a login that are no secret. What is absent is left to the client's own default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// `-u`, `--user`; psql's `-U`, `--username`.
    pub user: Option<String>,
    /// `-h`, `--host`.
    pub host: Option<String>,
    /// `-P`, `--port`; psql's `-p`.
    pub port: Option<u16>,
    /// `-S`, `--socket`.
    pub socket: Option<String>,
    /// `-D`, `--database`; psql's `-d`, `--dbname`; or a last word without a dash.
    pub database: Option<String>,
    /// `--login-path`.
    pub login_path: Option<String>,
    /// `as sysbackup`, behind a login of Oracle's.
    #[serde(default)]
    pub role: Option<As>,
}

impl Login {
    /// The socket itself: libpq names the folder in which it is.
    pub fn socket_file(&self) -> Option<PathBuf> {
        let path = PathBuf::from(self.socket.as_ref()?);
        let file = format!(".s.PGSQL.{}", self.port.unwrap_or(5432));
        Some(if path.is_dir() { path.join(file) } else { path })
    }
}

/// As what an Oracle login connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum As {
    /// What a backup needs.
    Sysbackup,
    /// Everything.
    Sysdba,
    /// Less than a backup needs.
    Sysoper,
}

/// What a login needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credential {
    /// All but the secret.
    pub login: Login,
    /// `-p`, `--password`.
    pub password: Option<Secret>,
    /// Where it was read from, where that is a file of its own.
    pub file: Option<PathBuf>,
}

impl Credential {
    /// Whether nothing was written at all.
    pub fn is_empty(&self) -> bool {
        *self == Credential::default()
    }

    /// Reads the words of a login string, quoted as in a shell; nothing is expanded. No word is repeated in an error:
    /// one of them may be the secret.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Credential, String> {
        if text.chars().any(|c| c.is_control() && !c.is_ascii_whitespace()) {
            return Err("it holds a control character".into());
        }
        if let Some(read) = as_sqlplus_takes_it(text.trim()) {
            return read;
        }
        let mut out = Credential::default();
        let words = words(text).ok_or("a quote or a backslash in it is not closed")?;
        let options = if words.iter().any(|w| is_psqls(w)) { &PSQL } else { &MYSQL };
        let mut words = words.into_iter();
        let mut number = 0;
        while let Some(word) = words.next() {
            number += 1;
            // psql is never let ask for one.
            if is_psqls(&word) && options.split(&word).is_none() {
                continue;
            }
            let Some((key, value)) = options.split(&word) else {
                let last = words.len() == 0 && number > 1 && !word.starts_with('-') && !word.contains(['/', '@']);
                if last && out.login.database.is_none() {
                    out.login.database = Some(word);
                    break;
                }
                return Err(format!("its word {number} is none of {} and their long forms", options.known));
            };
            let value = match value {
                Some(value) => value.to_owned(),
                None if key == "password" => {
                    return Err("the password stands right behind -p or --password=, without a space".into());
                }
                None => {
                    number += 1;
                    words.next().filter(|v| !v.starts_with('-')).ok_or_else(|| format!("{key} has no value"))?
                }
            };
            let again = match key {
                "user" => out.login.user.replace(value).is_some(),
                "host" => out.login.host.replace(value).is_some(),
                "port" => {
                    let port = value.parse().ok().filter(|p| *p > 0).ok_or("port is no number from 1 to 65535")?;
                    out.login.port.replace(port).is_some()
                }
                "socket" => out.login.socket.replace(value).is_some(),
                "database" => out.login.database.replace(value).is_some(),
                "login-path" => out.login.login_path.replace(value).is_some(),
                _ => out.password.replace(Secret(value)).is_some(),
            };
            if again {
                return Err(format!("{key} is there twice"));
            }
        }
        Ok(out)
    }
}

/// `[user/password | /][@database] [as role]`; `None` where it is no such string. The password may stand in double quotes.
fn as_sqlplus_takes_it(text: &str) -> Option<Result<Credential, String>> {
    let (name, behind) = text.split_once('/')?;
    if name.contains(|c: char| c.is_whitespace() || matches!(c, '-' | '=' | '\'' | '"' | '@')) {
        return None;
    }
    Some(behind_the_slash(name, behind))
}

fn behind_the_slash(name: &str, behind: &str) -> Result<Credential, String> {
    let (password, rest) = match behind.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or("a quote in it is not closed")?,
        None => behind.split_at(behind.find(|c: char| c == '@' || c.is_whitespace()).unwrap_or(behind.len())),
    };
    let mut words = rest.split_whitespace();
    let mut out = Credential::default();
    let role = match rest.strip_prefix('@') {
        Some(_) => {
            out.login.database = words.next().and_then(|w| w.strip_prefix('@')).map(str::to_owned);
            words.collect::<Vec<_>>()
        }
        None => words.collect(),
    };
    out.login.role = match role.as_slice() {
        [] => None,
        [word, role] if word.eq_ignore_ascii_case("as") => {
            let known = [("sysbackup", As::Sysbackup), ("sysdba", As::Sysdba), ("sysoper", As::Sysoper)];
            let known = known.into_iter().find(|(name, _)| role.eq_ignore_ascii_case(name));
            Some(known.ok_or("behind  as  stands none of sysbackup, sysdba and sysoper")?.1)
        }
        _ => return Err("behind the login stands something else than  as sysbackup".into()),
    };
    if name.is_empty() != password.is_empty() {
        return Err("it needs a user and a password, or neither, such as  / as sysbackup".into());
    }
    if !name.is_empty() {
        out.login.user = Some(name.to_owned());
        out.password = Some(Secret(password.to_owned()));
    }
    Ok(out)
}

/// The words of a text, quoted as in a shell. A `#` begins no comment: it may begin a password.
fn words(text: &str) -> Option<Vec<String>> {
    const MARK: &str = "\u{1}";
    let words = shlex::split(&text.replace('#', MARK))?;
    Some(words.into_iter().map(|w| w.replace(MARK, "#")).collect())
}

/// The options of a client, each with the key that it stands for.
struct Options {
    known: &'static str,
    long: &'static [(&'static str, &'static str)],
    short: &'static [(&'static str, &'static str)],
}

const MYSQL: Options = Options {
    known: "-u, -p, -h, -P, -S, -D, --login-path",
    long: &[
        ("user", "user"),
        ("host", "host"),
        ("port", "port"),
        ("socket", "socket"),
        ("database", "database"),
        ("login-path", "login-path"),
        ("password", "password"),
    ],
    short: &[("-u", "user"), ("-h", "host"), ("-P", "port"), ("-S", "socket"), ("-D", "database"), ("-p", "password")],
};

/// psql's own: it takes no password on its line.
const PSQL: Options = Options {
    known: "-U, -h, -p (the port), -d, -w",
    long: &[("username", "user"), ("host", "host"), ("port", "port"), ("dbname", "database")],
    short: &[("-U", "user"), ("-h", "host"), ("-p", "port"), ("-d", "database")],
};

/// Whether this word is an option of psql's and of no other client: then `-p` is a port.
fn is_psqls(word: &str) -> bool {
    let long = ["--username", "--dbname", "--no-password"];
    word.starts_with("-U")
        || word.starts_with("-d")
        || word == "-w"
        || long.iter().any(|l| word.strip_prefix(l).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
}

impl Options {
    /// The key of a word and the value that stands in the same word.
    fn split<'w>(&self, word: &'w str) -> Option<(&'static str, Option<&'w str>)> {
        if let Some(rest) = word.strip_prefix("--") {
            let (name, value) = rest.split_once('=').map_or((rest, None), |(n, v)| (n, Some(v)));
            return self.long.iter().find(|(long, _)| *long == name).map(|(_, key)| (*key, value));
        }
        let (key, rest) = self.short.iter().find_map(|(short, key)| Some((*key, word.strip_prefix(short)?)))?;
        Some((key, (!rest.is_empty()).then_some(rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_client_are_understood() {
        let c = Credential::parse("-u root -psecret --socket=/s -P 3307 --database x").unwrap();
        assert_eq!(
            (c.login.user.as_deref(), c.login.socket.as_deref(), c.login.port),
            (Some("root"), Some("/s"), Some(3307))
        );
        assert_eq!(c.password.as_ref().map(Secret::expose), Some("secret"));
        assert!(!format!("{c:?} {}", c.password.as_ref().unwrap()).contains("secret"));
        let c = Credential::parse("--user=root --host x --login-path=backup orders\n").unwrap();
        assert_eq!((c.login.login_path.as_deref(), c.login.database.as_deref()), (Some("backup"), Some("orders")));
        assert_eq!(Credential::parse(" \n").unwrap(), Credential::default());
    }

    #[test]
    fn the_words_of_psql_are_understood() {
        let c = Credential::parse("-U postgres -d orders -h /run/postgresql -p 5433 -w").unwrap();
        assert_eq!((c.login.user.as_deref(), c.login.database.as_deref()), (Some("postgres"), Some("orders")));
        assert_eq!((c.login.host.as_deref(), c.login.port), (Some("/run/postgresql"), Some(5433)));
        assert!(c.password.is_none());
        let c = Credential::parse("-p5433 --username=postgres --dbname orders --no-password").unwrap();
        assert_eq!((c.login.user.as_deref(), c.login.port), (Some("postgres"), Some(5433)));
        for text in
            ["-U a -phunter2", "-U a -p hunter2", "-U a --password=hunter2", "-U a -W hunter2 -h x", "-u a -U b"]
        {
            assert!(!Credential::parse(text).unwrap_err().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_password_may_be_quoted_and_hold_anything() {
        for (text, password) in [
            ("-p'pa ss'", "pa ss"),
            ("-pa#b", "a#b"),
            ("\"-p#a $b\"", "#a $b"),
            ("--password='#'", "#"),
            ("-u a -p'a\\b' -h x", "a\\b"),
            ("-p-p", "-p"),
            ("--password=", ""),
            ("-pü=€;%", "ü=€;%"),
        ] {
            let read = Credential::parse(text).unwrap();
            assert_eq!(read.password.as_ref().map(Secret::expose), Some(password), "{text}");
        }
    }

    #[test]
    fn the_logins_of_sqlplus_are_understood() {
        for (text, user, password, database, role) in [
            ("/ as sysbackup", None, None, None, Some(As::Sysbackup)),
            ("/ AS SYSDBA", None, None, None, Some(As::Sysdba)),
            ("/", None, None, None, None),
            ("/@orders as sysbackup", None, None, Some("orders"), Some(As::Sysbackup)),
            (
                "c##backup/secret@//h:1521/s as sysbackup",
                Some("c##backup"),
                Some("secret"),
                Some("//h:1521/s"),
                Some(As::Sysbackup),
            ),
            ("b/\"a @b/c\"@orders", Some("b"), Some("a @b/c"), Some("orders"), None),
        ] {
            let c = Credential::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let read = (c.login.user.as_deref(), c.password.as_ref().map(Secret::expose), c.login.database.as_deref());
            assert_eq!((read, c.login.role), ((user, password, database), role), "{text}");
        }
        for text in ["u/hunter2 as root", "u/hunter2 x", "/hunter2 as sysbackup", "u/ as sysbackup", "u/\"hunter2"] {
            assert!(!Credential::parse(text).unwrap_err().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn other_words_are_refused_and_never_repeated() {
        for text in [
            "--password",
            "--password hunter2",
            "-p hunter2",
            "hunter2",
            "-u",
            "-u -phunter2",
            "--ssl-ca=hunter2",
            "-P hunter2",
            "-P 0",
            "-P 65536",
            "/hunter2@db",
            "-u root root/hunter2",
            "-u root a hunter2",
            "-u root hunter2 -h x",
            "-phunter2 -phunter2",
            "-u root -p'hunter2",
            "-u root -phunter2\u{1}",
            "# hunter2",
        ] {
            assert!(!Credential::parse(text).unwrap_err().contains("hunter2"), "{text}");
        }
    }
}
