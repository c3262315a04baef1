//! `credString` and the content of a `credential_file`: whatever stands there.

use stillpoint::config::{Credential, Secret};

/// A word that no input holds by chance.
const SECRET: &str = "s3cr3t-Kq7wZ";

/// - What is understood can be written down again, quoted as in a shell, and gives the same login.
/// - A port is none or a real one; no word holds NUL.
/// - An error repeats no word of the input (each `§` in it is made a secret), and neither does `Debug` a password.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(read) = Credential::parse(text) {
        assert_eq!(Credential::parse(text).as_ref(), Ok(&read), "not the same twice");
        assert_ne!(read.login.port, Some(0));
        assert_eq!(read.file, None);
        let written = written(&read);
        assert!(!written.contains('\0'));
        assert_eq!(Credential::parse(&written), Ok(read), "{written}");
    }
    let text = text.replace('§', SECRET);
    match Credential::parse(&text) {
        Err(why) => assert!(!why.contains(SECRET), "{why}"),
        Ok(read) => {
            let shown =
                [&read.login.user, &read.login.host, &read.login.socket, &read.login.database, &read.login.login_path];
            let elsewhere = shown.into_iter().flatten().any(|v| v.contains(SECRET));
            assert!(elsewhere || !format!("{read:?}").contains(SECRET), "Debug tells it");
            if let Some(password) = &read.password {
                assert!(
                    !format!("{password} {password:?}").contains(password.expose()) || password.expose().len() < 10
                );
            }
        }
    }
}

/// A login string with the same words.
fn written(read: &Credential) -> String {
    let port = read.login.port.map(|p| p.to_string());
    let words = [
        ("user", read.login.user.as_deref()),
        ("host", read.login.host.as_deref()),
        ("port", port.as_deref()),
        ("socket", read.login.socket.as_deref()),
        ("database", read.login.database.as_deref()),
        ("login-path", read.login.login_path.as_deref()),
        ("password", read.password.as_ref().map(Secret::expose)),
    ];
    let words = words.into_iter().filter_map(|(key, value)| Some((key, value?)));
    words.map(|(key, value)| format!("--{key}='{}'", value.replace('\'', r"'\''"))).collect::<Vec<_>>().join(" ")
}
