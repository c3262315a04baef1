//! How the login reaches a client: as a sealed file in memory that only `linux_user` can read, or by its standard input;
//! and never by argument, environment or file on disk.

use std::os::fd::{AsRawFd, OwnedFd};

use stillpoint_contract::manifest::{self, LoginFormat};

use crate::client::reach::Reach;
use crate::config::{As, Login, Secret};
use crate::fault::{Exit, Fault};
use crate::sys::sealed::sealed;

/// How a client is told its login.
#[derive(Default)]
pub struct Told {
    /// Its arguments. No secret is in them.
    pub arguments: Vec<String>,
    /// What stands before the name of a database.
    pub server: String,
    /// The sealed file, to be inherited.
    pub file: Option<OwnedFd>,
    /// The password, where the client reads it before anything else.
    pub password: Option<Secret>,
    /// The lines that log in, before any other.
    pub lines: Option<Secret>,
}

/// The login of this workload, as the manifest says that this client takes it.
///
/// # Errors
/// `SP-CLIENT-003` for a word that the format cannot carry, `SP-CLIENT-004` when the system gives no such file.
pub fn login(reach: &Reach, secret: Option<&Secret>, way: &manifest::Login) -> Result<Told, Fault> {
    without_login_path(reach)?;
    let arguments = |words: &[String]| words.iter().map(|word| way.argument.replace("{login}", word)).collect();
    Ok(match way.format {
        LoginFormat::OptionFile => {
            let (file, path) = seal(reach, &option_file(reach, secret)?)?;
            Told { arguments: arguments(&[path]), file: Some(file), ..Told::default() }
        }
        LoginFormat::PassFile => {
            let (file, path) = seal(reach, &pass_file(reach, secret)?)?;
            let words = connection_words(&reach.login, &path);
            Told { arguments: arguments(&[words]), file: Some(file), ..Told::default() }
        }
        LoginFormat::FetchPassword => {
            let (file, path) = seal(reach, &first_line(reach, secret)?)?;
            let words = user_and_password(&reach.login, secret.is_some(), path);
            Told { arguments: arguments(&words), server: inet(&reach.login), file: Some(file), ..Told::default() }
        }
        LoginFormat::AskPass => {
            Told { arguments: asking(reach, secret)?, password: secret.cloned(), ..Told::default() }
        }
        LoginFormat::ConnectLine => {
            let lines = Some(connect_line(reach, secret)?);
            Told { arguments: vec![way.argument.clone()], lines, ..Told::default() }
        }
    })
}

/// A file in memory with this content, and its path for the client.
fn seal(reach: &Reach, content: &str) -> Result<(OwnedFd, String), Fault> {
    let file = sealed(content.as_bytes(), reach.user.uid, reach.user.gid).map_err(|e| {
        Fault::new("SP-CLIENT-004", Exit::Internal, format!("no file in memory for the credential: {e}."))
            .of(&reach.workload)
            .done("Nothing was sent.")
            .next("see whether the machine has memory left")
    })?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok((file, path))
}

/// How a database calls this user: Firebird in capitals, where the name is not quoted.
pub fn known_as(format: Option<LoginFormat>, user: &str) -> String {
    match format {
        Some(LoginFormat::FetchPassword) => match user.strip_prefix('"').and_then(|u| u.strip_suffix('"')) {
            Some(exact) => exact.replace("\"\"", "\""),
            None => user.to_uppercase(),
        },
        _ => user.to_owned(),
    }
}

/// The arguments of `redis-cli`, which reads the password from its standard input before anything else, and gives it
/// itself to the server: nothing has to be quoted, and it logs in again by itself.
fn asking(reach: &Reach, secret: Option<&Secret>) -> Result<Vec<String>, Fault> {
    let login = &reach.login;
    if login.database.is_some() {
        return Err(Fault::new("SP-CLIENT-003", Exit::Usage, "this client's login has no database.")
            .of(&reach.workload)
            .next("leave the database out of credString: what is frozen is the whole server"));
    }
    if let Some(secret) = secret {
        without_control(reach, "password", secret.expose())?;
    }
    let port = login.port.map(|p| p.to_string());
    let words = [
        ("-s", "socket", login.socket.as_deref()),
        ("-h", "host", login.host.as_deref().filter(|_| login.socket.is_none())),
        ("-p", "port", port.as_deref().filter(|_| login.socket.is_none())),
        // Without a password the client ignores its user.
        ("--user", "user", login.user.as_deref().filter(|_| secret.is_some())),
    ];
    let mut out = Vec::new();
    for (option, name, value) in words {
        let Some(value) = value else { continue };
        without_control(reach, name, value)?;
        out.extend([option.to_owned(), value.to_owned()]);
    }
    if login.user.is_some() && secret.is_none() {
        return Err(Fault::new("SP-CLIENT-003", Exit::Usage, "this client names its user with a password alone.")
            .of(&reach.workload)
            .next("write the password in credential_file, or leave the user out"));
    }
    out.extend(secret.map(|_| "--askpass".to_owned()));
    Ok(out)
}

/// MySQL's option file. Values stand in double quotes with backslash escapes
/// (MySQL manual, "Using Option Files").
fn option_file(reach: &Reach, secret: Option<&Secret>) -> Result<String, Fault> {
    let login = &reach.login;
    let mut out = String::from("[client]\n");
    let port = login.port.map(|p| p.to_string());
    let words = [
        ("user", login.user.as_deref()),
        ("host", login.host.as_deref()),
        ("port", port.as_deref()),
        ("socket", login.socket.as_deref()),
        ("password", secret.map(Secret::expose)),
    ];
    for (key, value) in words {
        let Some(value) = value else { continue };
        without_control(reach, key, value)?;
        out.push_str(&format!("{key}=\"{}\"\n", value.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    if let Some(database) = &login.database {
        out.push_str(&format!("[mysql]\ndatabase=\"{}\"\n", database.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    Ok(out)
}

/// libpq's password file: whatever server the words of the connection name, this is its password
/// (PostgreSQL manual, "The Password File"). Without a password it is empty, so that `~/.pgpass` is not read.
fn pass_file(reach: &Reach, secret: Option<&Secret>) -> Result<String, Fault> {
    let login = &reach.login;
    for (key, value) in
        [("user", &login.user), ("host", &login.host), ("socket", &login.socket), ("database", &login.database)]
    {
        without_control(reach, key, value.as_deref().unwrap_or_default())?;
    }
    let Some(secret) = secret else { return Ok(String::new()) };
    without_control(reach, "password", secret.expose())?;
    Ok(format!("*:*:*:*:{}\n", secret.expose().replace('\\', "\\\\").replace(':', "\\:")))
}

/// isql takes the first line of the file that `-fetch_password` names.
fn first_line(reach: &Reach, secret: Option<&Secret>) -> Result<String, Fault> {
    let login = &reach.login;
    for (key, value) in [("user", &login.user), ("host", &login.host)] {
        without_control(reach, key, value.as_deref().unwrap_or_default())?;
    }
    let other = [("socket", &login.socket), ("database", &login.database)];
    if let Some((key, _)) = other.iter().find(|(_, value)| value.is_some()) {
        let what = format!("this client knows no {key} in credString.");
        return Err(Fault::new("SP-CLIENT-003", Exit::Usage, what)
            .of(&reach.workload)
            .next("name host and port there, and the databases under  dbnames ="));
    }
    if login.host.as_deref().is_some_and(|h| h.contains('/')) {
        return Err(Fault::new("SP-CLIENT-003", Exit::Usage, "host in credString holds a slash.").of(&reach.workload));
    }
    let secret = secret.map(Secret::expose).unwrap_or_default();
    without_control(reach, "password", secret)?;
    Ok(if secret.is_empty() { String::new() } else { format!("{secret}\n") })
}

fn user_and_password(login: &Login, has_password: bool, path: String) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(user) = &login.user {
        words.extend(["-user".to_owned(), user.clone()]);
    }
    if has_password {
        words.extend(["-fetch_password".to_owned(), path]);
    }
    words
}

/// A server of Firebird's, always by its network protocol: a client that opened the file itself would keep the server out.
fn inet(login: &Login) -> String {
    let host = login.host.as_deref().unwrap_or("localhost");
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    match login.port {
        Some(port) => format!("inet://{host}:{port}/"),
        None => format!("inet://{host}/"),
    }
}

/// The words of a connection of libpq's, each value in single quotes with backslash escapes
/// (PostgreSQL manual, "Connection Strings"). Names are looked for among the server's own alone: nobody else's function
/// can stand before them.
fn connection_words(login: &Login, pass_file: &str) -> String {
    let mut port = login.port.map(|p| p.to_string());
    let mut host = login.host.as_deref();
    if let Some(socket) = login.socket.as_deref() {
        // libpq wants the folder; people name the socket as well.
        let named = socket.rsplit_once("/.s.PGSQL.").filter(|(_, n)| n.parse::<u16>().is_ok());
        host = Some(named.map_or(socket, |(folder, _)| folder));
        port = port.or_else(|| named.map(|(_, n)| n.to_owned()));
    }
    let words = [
        ("host", host),
        ("port", port.as_deref()),
        ("user", login.user.as_deref()),
        ("dbname", Some(login.database.as_deref().unwrap_or("postgres"))),
        ("passfile", Some(pass_file)),
        ("client_encoding", Some("UTF8")),
        ("application_name", Some("stillpoint")),
        ("options", Some("-c search_path=pg_catalog")),
    ];
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    let words = words.iter().filter_map(|(key, value)| Some(format!("{key}='{}'", quoted((*value)?))));
    words.collect::<Vec<_>>().join(" ")
}

/// SQL*Plus' own command, which comes over its standard input (SQL*Plus User's Guide, "CONNECT"). Before it, `&` in a
/// password is told to be nothing but a letter. Where the configuration says nothing, the machine's user is the login.
fn connect_line(reach: &Reach, secret: Option<&Secret>) -> Result<Secret, Fault> {
    let login = &reach.login;
    let fault = |what: &str| Err(Fault::new("SP-CLIENT-003", Exit::Usage, what).of(&reach.workload));
    if login.host.is_some() || login.port.is_some() || login.socket.is_some() {
        return fault("this client's login has no host, port or socket: write  user/password@database as sysbackup.");
    }
    let plain = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let user = login.user.as_deref().unwrap_or_default();
    let database = login.database.as_deref().unwrap_or_default();
    if !plain(user, "_$#") || !plain(database, "_.:/-") {
        return fault("the user or the database in credString holds what this client's login cannot carry.");
    }
    let who = match (user, secret.map(Secret::expose)) {
        ("", None) => "/".to_owned(),
        // A quote has no way into a password of Oracle's.
        (_, Some(password)) if password.contains(|c: char| c.is_control() || c == '"') => {
            return fault("the password holds a quote or a control character, which this client's login cannot carry.");
        }
        ("", Some(_)) => return fault("a password without a user is no login."),
        (_, None) => return fault("a user without a password is no login: the client would ask for it."),
        (user, Some(password)) => format!("{user}/\"{password}\""),
    };
    let at = if database.is_empty() { String::new() } else { format!("@{database}") };
    let role = match login.role {
        Some(As::Sysbackup) => " AS SYSBACKUP",
        Some(As::Sysdba) => " AS SYSDBA",
        Some(As::Sysoper) => " AS SYSOPER",
        None if user.is_empty() && database.is_empty() => " AS SYSBACKUP",
        None => "",
    };
    Ok(Secret::of(format!("SET DEFINE OFF\nCONNECT {who}{at}{role}\n")))
}

fn without_control(reach: &Reach, key: &str, value: &str) -> Result<(), Fault> {
    if !value.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Fault::new(
        "SP-CLIENT-003",
        Exit::Usage,
        format!("{key} in credString holds a control character, which this client's login cannot carry."),
    )
    .of(&reach.workload))
}

fn without_login_path(reach: &Reach) -> Result<(), Fault> {
    if reach.login.login_path.is_none() {
        return Ok(());
    }
    Err(Fault::new("SP-CLIENT-003", Exit::Usage, "this client knows no login path.")
        .of(&reach.workload)
        .next("write user and password in credential_file, or let the server trust linux_user by its socket"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_connection_becomes_another() {
        let login = Login {
            user: Some("o'neil \\ host=evil".into()),
            socket: Some("/run/postgresql/.s.PGSQL.5433".into()),
            ..Login::default()
        };
        assert_eq!(
            connection_words(&login, "/proc/self/fd/7"),
            "host='/run/postgresql' port='5433' user='o\\'neil \\\\ host=evil' dbname='postgres' \
             passfile='/proc/self/fd/7' client_encoding='UTF8' application_name='stillpoint' \
             options='-c search_path=pg_catalog'"
        );
    }

    #[test]
    fn no_word_of_a_login_becomes_a_line_of_sqlplus() {
        let mut reach = Reach::for_tests();
        let line = |reach: &Reach, password: Option<&str>| {
            let secret = password.map(|p| Secret::of(p.into()));
            connect_line(reach, secret.as_ref()).map(|s| s.expose().to_owned()).map_err(|f| f.id.to_string())
        };
        let define = "SET DEFINE OFF\nCONNECT ";
        assert_eq!(line(&reach, None), Ok(format!("{define}/ AS SYSBACKUP\n")));
        reach.login.user = Some("c##b".into());
        reach.login.database = Some("//h:1521/s".into());
        assert_eq!(line(&reach, Some("&a@b;")), Ok(format!("{define}c##b/\"&a@b;\"@//h:1521/s\n")));
        for password in [None, Some("a\nHOST id"), Some("a\" AS SYSDBA")] {
            assert_eq!(line(&reach, password), Err("SP-CLIENT-003".into()), "{password:?}");
        }
        for database in ["a\nHOST id", "a b", "a\""] {
            reach.login.database = Some(database.into());
            assert_eq!(line(&reach, Some("p")), Err("SP-CLIENT-003".into()), "{database:?}");
        }
    }

    #[test]
    fn a_database_of_firebird_is_named_with_its_server() {
        let login = Login { user: Some("bak".into()), host: Some("::1".into()), port: Some(3051), ..Login::default() };
        assert_eq!(inet(&login), "inet://[::1]:3051/");
        assert_eq!(inet(&Login::default()), "inet://localhost/");
        let file = "/proc/self/fd/7";
        assert_eq!(user_and_password(&login, true, file.into()), ["-user", "bak", "-fetch_password", file]);
        assert_eq!(known_as(Some(LoginFormat::FetchPassword), "bak"), "BAK");
        assert_eq!(known_as(Some(LoginFormat::FetchPassword), "\"b\"\"ak\""), "b\"ak");
        let mut reach = Reach::for_tests();
        reach.login.host = Some("other/".into());
        assert_eq!(first_line(&reach, None).unwrap_err().id, "SP-CLIENT-003");
    }

    #[test]
    fn a_password_that_is_asked_for_is_no_argument() {
        let way = manifest::Login { argument: "{login}".into(), format: LoginFormat::AskPass };
        let mut reach = Reach::for_tests();
        assert_eq!(login(&reach, None, &way).unwrap().arguments, Vec::<String>::new());
        reach.login.socket = Some("/run/redis.sock".into());
        reach.login.host = Some("localhost".into());
        reach.login.user = Some("backup".into());
        assert_eq!(login(&reach, None, &way).err().unwrap().id, "SP-CLIENT-003");
        let secret = crate::config::Credential::parse("-phunter2").unwrap().password;
        let told = login(&reach, secret.as_ref(), &way).unwrap();
        assert_eq!(told.arguments, ["-s", "/run/redis.sock", "--user", "backup", "--askpass"]);
        assert_eq!(told.password, secret);
        reach.login.database = Some("1".into());
        assert_eq!(login(&reach, secret.as_ref(), &way).err().unwrap().id, "SP-CLIENT-003");
    }

    #[test]
    fn a_login_without_a_password_has_an_empty_file_of_them() {
        assert_eq!(pass_file(&Reach::for_tests(), None).unwrap(), "");
        let mut reach = Reach::for_tests();
        reach.login.host = Some("a\nb".into());
        assert_eq!(pass_file(&reach, None).unwrap_err().id, "SP-CLIENT-003");
    }
}
