//! How the login reaches a client: as a sealed file in memory that only `linux_user` can read, and never by argument,
//! environment or file on disk.

use std::os::fd::OwnedFd;

use stillpoint_contract::manifest::LoginFormat;

use crate::client::reach::Reach;
use crate::config::Secret;
use crate::fault::{Exit, Fault};
use crate::sys::sealed::sealed;

/// The sealed file for this login.
///
/// # Errors
/// `SP-CLIENT-003` for a word that the format cannot carry, `SP-CLIENT-004` when the system gives no such file.
pub fn login(reach: &Reach, secret: Option<&Secret>, format: LoginFormat) -> Result<OwnedFd, Fault> {
    let LoginFormat::OptionFile = format;
    let content = option_file(reach, secret)?;
    sealed(content.as_bytes(), reach.user.uid, reach.user.gid).map_err(|e| {
        Fault::new("SP-CLIENT-004", Exit::Internal, format!("no file in memory for the credential: {e}."))
            .of(&reach.workload)
    })
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
        if value.chars().any(char::is_control) {
            return Err(Fault::new(
                "SP-CLIENT-003",
                Exit::Usage,
                format!("{key} in credString holds a control character, which this client's login cannot carry."),
            )
            .of(&reach.workload));
        }
        out.push_str(&format!("{key}=\"{}\"\n", value.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    if login.login_path.is_some() {
        return Err(Fault::new("SP-CLIENT-003", Exit::Usage, "this client knows no login path.")
            .of(&reach.workload)
            .next("write user and password in credential_file, or let the server trust linux_user by its socket"));
    }
    if let Some(database) = &login.database {
        out.push_str(&format!("[mysql]\ndatabase=\"{}\"\n", database.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    Ok(out)
}
