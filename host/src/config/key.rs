//! The keys of a workload's section.

/// Every key that is honoured.
pub const HONOURED: [&str; 20] = [
    "workload_name",
    "command_path",
    "linux_user",
    "credString",
    "credential_file",
    "ipc_folder",
    "timeout",
    "dbnames",
    "on_failure",
    "order",
    "snapshot",
    "stall_budget",
    "module",
    "role",
    "enforceSlaveOnly",
    "filesystems",
    "keep_records",
    "configuration_path",
    "instance",
    "home",
];

/// A key that is known and not honoured.
pub struct Refused {
    /// Its name.
    pub name: &'static str,
    /// Why it is not honoured.
    pub why: &'static str,
    /// What to write instead.
    pub instead: &'static str,
}

/// Every key that is known and not honoured.
pub const REFUSED: [Refused; 2] = [
    Refused {
        name: "command",
        why: "it names the client of Azure's log backup alone, as one file",
        instead: "write the folder that the client is in:  command_path =",
    },
    Refused {
        name: "customScriptEnabled",
        why: "a script would run as root, outside all that is checked here",
        instead: "put what it does into a module, or around the call of  stillpoint run",
    },
];

/// Every key of `[logbackup]`.
pub const LOG_BACKUP: [&str; 3] = ["baseLocation", "parameterFilePath", "crontabLocation"];

/// The key that somebody wrote, as it is spelt here. Azure's reader takes capitals for small letters, and so do we.
pub fn honoured(written: &str) -> Option<&'static str> {
    HONOURED.into_iter().find(|k| k.eq_ignore_ascii_case(written))
}

/// The refused key that somebody wrote.
pub fn refused(written: &str) -> Option<&'static Refused> {
    REFUSED.iter().find(|k| k.name.eq_ignore_ascii_case(written))
}

/// Whether this value asks for nothing: a refused key with it is honoured by doing nothing.
pub fn asks_nothing(value: &str) -> bool {
    ["", "0", "no", "off", "false"].iter().any(|w| value.eq_ignore_ascii_case(w))
}

/// Whether the value of this key may be shown.
pub fn tells_no_secret(written: &str) -> bool {
    refused(written).is_some()
        || LOG_BACKUP.iter().any(|k| k.eq_ignore_ascii_case(written))
        || honoured(written).is_some_and(|k| k != "credString")
}

/// Whether it looks like a key, and may be repeated in a message.
pub fn is_word(written: &str) -> bool {
    let mut chars = written.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && written.len() <= 40
}

/// The key that somebody who wrote this may have meant.
pub fn meant(written: &str) -> Option<&'static str> {
    let far = |k: &str| strsim::damerau_levenshtein(&k.to_ascii_lowercase(), &written.to_ascii_lowercase());
    HONOURED.into_iter().map(|k| (far(k), k)).filter(|(far, k)| *far <= 2.max(k.len() / 4)).min().map(|(_, k)| k)
}
