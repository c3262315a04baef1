//! `workload.conf`: whatever its bytes.

use std::collections::BTreeSet;
use std::path::Path;

use stillpoint::config::{self, Configuration, Workload};
use stillpoint::fault::{Exit, Fault, plain};

/// A word that no input holds by chance.
const SECRET: &str = "s3cr3t-Kq7wZ";

/// The keys whose values may be shown in a message. Written out once more: a new key counts as secret until somebody says
/// here that it is none.
const SHOWN: [&str; 22] = [
    "workload_name",
    "command_path",
    "linux_user",
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
    "configuration_path",
    "enforceSlaveOnly",
    "customScriptEnabled",
    "filesystems",
    "keep_records",
    "command",
    "baseLocation",
    "parameterFilePath",
    "crontabLocation",
];

/// - The same bytes give the same answer; one that is refused stays so when others can read the file, and then no
///   password in it is accepted.
/// - What parses keeps what its types promise: see `keeps_its_promises`.
/// - Every fault has a stable id, is one of usage, and says something that cannot draw on a terminal.
/// - What is written where a secret may stand – in `credString`, under an unknown key, on a line that is none, in a
///   comment – is in no message, no JSON and no `Debug`.
pub fn check(bytes: &[u8]) {
    let read = parse(bytes, false);
    assert_eq!(format!("{read:?}"), format!("{:?}", parse(bytes, false)), "not the same twice");
    match (&read, parse(bytes, true)) {
        (Err(_), Ok(_)) => panic!("good only when others can read it"),
        (_, Ok(open)) => {
            let password = |w: &Workload| w.credential.password.is_some() && w.credential.file.is_none();
            assert!(!open.workloads.iter().any(password), "others can read this password");
        }
        (_, Err(_)) => {}
    }
    match &read {
        Ok(good) => keeps_its_promises(good),
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a reason");
            faults.iter().for_each(is_a_fault);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(SECRET)
    {
        tells_no_secret(&parse(with_secrets(text).as_bytes(), false));
    }
}

fn parse(bytes: &[u8], others_read: bool) -> Result<Configuration, Vec<Fault>> {
    config::parse(Path::new("/etc/stillpoint/workload.conf"), bytes.to_vec(), others_read)
}

/// At least one workload; names distinct and plain; `timeout` from a second to a day and above `stall_budget`; paths
/// absolute; databases distinct and named; one kind of snapshot; the smallest `timeout` is the configuration's.
fn keeps_its_promises(read: &Configuration) {
    let mut names = BTreeSet::new();
    for w in &read.workloads {
        for name in [&w.name, &w.workload_name] {
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            assert!(plain && (1..=64).contains(&name.len()), "{name:?}");
        }
        assert!(names.insert(&w.name), "{:?} twice", w.name);
        assert!((1..=86_400).contains(&w.timeout.as_secs()), "{:?}", w.timeout);
        assert!(w.stall_budget < w.timeout, "{:?} of {:?}", w.stall_budget, w.timeout);
        for path in [&w.command_path, &w.ipc_folder, &w.module, &w.credential.file].into_iter().flatten() {
            assert!(path.is_absolute(), "{path:?}");
        }
        let databases: BTreeSet<&String> = w.databases.iter().collect();
        assert!(databases.len() == w.databases.len() && w.databases.iter().all(|d| !d.trim().is_empty()));
        assert_eq!(w.snapshot, read.snapshot);
        assert!(!w.linux_user.name.is_empty());
    }
    assert_eq!(read.workloads.iter().map(|w| w.timeout).min(), Some(read.timeout));
    read.warnings.iter().for_each(is_a_fault);
}

fn is_a_fault(fault: &Fault) {
    let mut parts = fault.id.split('-');
    assert!(parts.next() == Some("SP") && matches!(parts.next(), Some("CFG" | "IPC")), "{}", fault.id);
    assert!(parts.next().is_some_and(|n| n.len() == 3 && n.bytes().all(|b| b.is_ascii_digit())), "{}", fault.id);
    assert_eq!((parts.next(), fault.exit), (None, Exit::Usage));
    assert!(!fault.what.is_empty() && fault.next.as_ref().is_some_and(|n| !n.is_empty()), "{fault:?}");
    for line in fault.to_string().lines() {
        assert_eq!(line, plain(line), "it draws on the screen");
    }
}

/// The text with [`SECRET`] in every place where a secret may stand.
fn with_secrets(text: &str) -> String {
    let secret = |line: &str| {
        let trimmed = line.trim();
        let key = trimmed.split_once(['=', ':']).map_or("", |(key, _)| key.trim());
        if trimmed.is_empty()
            || (trimmed.starts_with('[') && trimmed.ends_with(']'))
            || SHOWN.iter().any(|k| k.eq_ignore_ascii_case(key))
        {
            line.to_owned()
        } else if key.eq_ignore_ascii_case("credString") {
            format!("{line} -p{SECRET}")
        } else {
            format!("{line} {SECRET}")
        }
    };
    // The mark that some editors begin a file with belongs to no line.
    text.strip_prefix('\u{feff}')
        .unwrap_or(text)
        .split('\n')
        .map(|line| secret(line.strip_suffix('\r').unwrap_or(line)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn tells_no_secret(read: &Result<Configuration, Vec<Fault>>) {
    let faults = match read {
        Ok(good) => {
            // A quote may make it a part of another word: that is no secret then.
            let elsewhere = good.workloads.iter().any(|w| {
                let c = &w.credential;
                [&c.login.user, &c.login.host, &c.login.socket, &c.login.database, &c.login.login_path]
                    .into_iter()
                    .flatten()
                    .any(|v| v.contains(SECRET))
            });
            assert!(elsewhere || !format!("{good:?}").contains(SECRET), "Debug tells it");
            &good.warnings
        }
        Err(faults) => faults,
    };
    for fault in faults {
        let json = serde_json::to_string(fault).unwrap_or_default();
        assert!(!fault.to_string().contains(SECRET) && !json.contains(SECRET), "a fault tells it: {fault}");
    }
}
