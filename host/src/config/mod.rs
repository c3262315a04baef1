//! `workload.conf` into types: the INI format of Azure Backup's enhanced pre-post scripts, unchanged, and several
//! `[workload NAME]` sections.
//!
//! | id | what |
//! |---|---|
//! | `SP-CFG-001` | the file is missing or cannot be read |
//! | `SP-CFG-002` | it is no INI file |
//! | `SP-CFG-003` | a section or key is unknown, or stands outside any section |
//! | `SP-CFG-004` | a section or key is there twice |
//! | `SP-CFG-005` | a value is not what it must be |
//! | `SP-CFG-006` | a needed key is missing |
//! | `SP-CFG-007` | a key of Azure's that is not honoured, with the replacement |
//! | `SP-CFG-008` | `linux_user` does not exist, or may not be used |
//! | `SP-CFG-009` | the file holds a secret and others can read it |
//! | `SP-IPC-001` | `ipc_folder` cannot be used |

mod credential;
mod place;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ini::{Ini, ParseOption, Properties};
use stillpoint_contract::manifest::Snapshot;

pub use credential::{Credential, Secret};

use crate::fault::{Exit, Fault};
use place::Places;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Every key that is honoured.
const KEYS: [&str; 14] = [
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
];

/// Keys that are known and not honoured: why, and what to write instead.
const NOT_HONOURED: [(&str, &str, &str); 5] = [
    (
        "configuration_path",
        "lists of instances are not read yet",
        "write one [workload NAME] section for each instance",
    ),
    ("enforceSlaveOnly", "which server is a replica is not asked yet", "configure the backup on the replica alone"),
    (
        "customScriptEnabled",
        "a script would run as root, outside all that is checked here",
        "put what it does into a module, or round the call of  stillpoint run",
    ),
    ("filesystems", "filesystems are not frozen yet", "leave that to the backup agent"),
    ("logbackup", "logs are not copied yet", "rotate and copy the logs by the database's own means"),
];

/// A configuration that can be acted on.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The file.
    pub path: PathBuf,
    /// In the order of the file.
    pub workloads: Vec<Workload>,
    /// The smallest `timeout` of all.
    pub timeout: Duration,
    /// What would be better otherwise.
    pub warnings: Vec<Fault>,
}

/// One database, or one group of them.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The section's name, or `workload_name` where it has none.
    pub name: String,
    /// Which module.
    pub workload_name: String,
    /// The folder of the client program.
    pub command_path: Option<PathBuf>,
    /// Who runs the client.
    pub linux_user: User,
    /// How it logs in.
    pub credential: Credential,
    /// The one folder where state may be written.
    pub ipc_folder: Option<PathBuf>,
    /// The longest that it may stand still.
    pub timeout: Duration,
    /// The databases; empty means all.
    pub databases: Vec<String>,
    /// Whether the agent may snapshot when its freeze failed.
    pub on_failure: OnFailure,
    /// Lower ones freeze first; equal ones together.
    pub order: u32,
    /// What the agent will do.
    pub snapshot: Snapshot,
    /// The longest that taking its freeze may make writers wait.
    pub stall_budget: Duration,
    /// The module's bundle, where it is not an installed one.
    pub module: Option<PathBuf>,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// All group ids.
    pub groups: Vec<u32>,
}

/// Whether the agent may snapshot when a freeze failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It may not.
    Abort,
    /// It may; the verdict says so.
    Continue,
}

/// The file to read: the one that was named, else `workload.conf` in `etc`, else Azure's own.
pub fn find(named: Option<&Path>, etc: &Path) -> PathBuf {
    let own = etc.join("workload.conf");
    match named {
        Some(path) => path.to_owned(),
        None if !own.exists()
            && etc == Path::new("/etc/stillpoint")
            && Path::new("/etc/azure/workload.conf").exists() =>
        {
            "/etc/azure/workload.conf".into()
        }
        None => own,
    }
}

/// Reads a configuration.
///
/// # Errors
/// Every mistake at once.
pub fn read(path: &Path) -> Result<Configuration, Vec<Fault>> {
    let text = load(path).map_err(|fault| vec![fault])?;
    let mode = path.metadata().map_or(0, |m| m.mode());
    let mut reader = Reader { places: Places::of(path, &text), faults: Vec::new(), warnings: Vec::new() };
    let workloads = reader.workloads(&text, mode & 0o044 != 0);
    let timeout = workloads.iter().map(|w| w.timeout).min().unwrap_or_default();
    if reader.faults.is_empty() {
        Ok(Configuration { path: path.to_owned(), workloads, timeout, warnings: reader.warnings })
    } else {
        Err(reader.faults)
    }
}

fn load(path: &Path) -> Result<String, Fault> {
    let fault = |what: String| {
        Fault::new("SP-CFG-001", Exit::Usage, what)
            .done("Nothing was started.")
            .next("write the configuration there, or name another file with  --config")
    };
    let meta = path.metadata().map_err(|e| fault(format!("{} cannot be read: {e}.", path.display())))?;
    if !meta.is_file() || meta.len() > LARGEST {
        return Err(fault(format!("{} is no file of at most 1 MiB.", path.display())));
    }
    let bytes = std::fs::read(path).map_err(|e| fault(format!("{} cannot be read: {e}.", path.display())))?;
    String::from_utf8(bytes).map_err(|_| fault(format!("{} is not UTF-8.", path.display())))
}

struct Reader<'a> {
    places: Places<'a>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Reader<'_> {
    fn say(&mut self, id: &str, what: String, section: &str, key: Option<&str>, next: &str) {
        let fault = Fault::new(id, Exit::Usage, what).at(self.places.excerpt(section, key)).next(next);
        self.faults.push(fault);
    }

    fn workloads(&mut self, text: &str, others_read: bool) -> Vec<Workload> {
        let option = ParseOption { enabled_escape: false, enabled_quote: false, ..ParseOption::default() };
        let ini = match Ini::load_from_str_opt(text, option) {
            Ok(ini) => ini,
            Err(e) => {
                let fault = Fault::new("SP-CFG-002", Exit::Usage, format!("it is no INI file: {}.", e.msg));
                self.faults
                    .push(fault.at(self.places.line(e.line, e.col)).next("write  key = value  under  [workload]"));
                return Vec::new();
            }
        };
        let mut seen = BTreeSet::new();
        let mut out = Vec::new();
        for (section, properties) in &ini {
            let Some(section) = section else {
                for (key, _) in properties.iter() {
                    self.say(
                        "SP-CFG-003",
                        format!("{key} stands before any section."),
                        "",
                        Some(key),
                        "begin with  [workload]",
                    );
                }
                continue;
            };
            if !seen.insert(section.to_owned()) {
                self.say(
                    "SP-CFG-004",
                    format!("[{section}] is there twice."),
                    section,
                    None,
                    "give each its own name:  [workload NAME]",
                );
                continue;
            }
            match section.strip_prefix("workload") {
                Some(name) if name.is_empty() || name.starts_with(' ') => {
                    out.extend(self.workload(section, name.trim(), properties, others_read));
                }
                _ => match NOT_HONOURED.iter().find(|(k, ..)| *k == section) {
                    Some((_, why, next)) => {
                        self.say("SP-CFG-007", format!("[{section}] is not honoured: {why}."), section, None, next);
                    }
                    None => self.say(
                        "SP-CFG-003",
                        format!("[{section}] is unknown."),
                        section,
                        None,
                        "write  [workload]  or  [workload NAME]",
                    ),
                },
            }
        }
        if out.is_empty() && self.faults.is_empty() {
            self.say("SP-CFG-006", "there is no workload.".into(), "", None, "begin with  [workload]");
        }
        let mut names = BTreeSet::new();
        for workload in &out {
            if !names.insert(workload.name.clone()) {
                let what = format!("two workloads are named {}.", workload.name);
                self.faults
                    .push(Fault::new("SP-CFG-004", Exit::Usage, what).next("name the sections:  [workload NAME]"));
            }
        }
        out
    }

    fn workload(&mut self, section: &str, name: &str, properties: &Properties, others_read: bool) -> Option<Workload> {
        let before = self.faults.len();
        let mut seen = BTreeSet::new();
        for (key, _) in properties.iter() {
            if !seen.insert(key) {
                self.say("SP-CFG-004", format!("{key} is there twice."), section, Some(key), "keep one of them");
            } else if let Some((_, why, next)) = NOT_HONOURED.iter().find(|(k, ..)| *k == key) {
                self.say("SP-CFG-007", format!("{key} is not honoured: {why}."), section, Some(key), next);
            } else if !KEYS.contains(&key) {
                let next = match KEYS.iter().find(|k| nearly(k, key)) {
                    Some(near) => format!("did you mean  {near}  ?"),
                    None => format!("known are {}", KEYS.join(", ")),
                };
                self.say("SP-CFG-003", format!("{key} is unknown."), section, Some(key), &next);
            }
        }
        // An empty value is an absent one: Azure's template is full of them.
        let get = |key: &str| properties.get(key).map(str::trim).filter(|v| !v.is_empty());
        let Some(workload_name) = get("workload_name") else {
            self.say(
                "SP-CFG-006",
                "workload_name is missing.".into(),
                section,
                Some("workload_name"),
                "name the database, such as  workload_name = mariadb",
            );
            return None;
        };
        let name = if name.is_empty() { workload_name } else { name };
        if name.len() > 64 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            self.say(
                "SP-CFG-005",
                "a workload's name is 1 to 64 of letters, digits, - and _.".into(),
                section,
                None,
                "such as  [workload orders]",
            );
        }
        let timeout = self.seconds(section, "timeout", get("timeout"), 90);
        if timeout < Duration::from_secs(60) {
            let what = format!("timeout = {} is below 60 seconds: a slow snapshot will be cut off.", timeout.as_secs());
            self.warnings.push(Fault::new("SP-CFG-005", Exit::Usage, what).of(name));
        }
        let mut stall_budget = self.seconds(section, "stall_budget", get("stall_budget"), 5);
        if get("stall_budget").is_none() {
            stall_budget = stall_budget.min(timeout / 2);
        } else if stall_budget >= timeout {
            self.say(
                "SP-CFG-005",
                "stall_budget must be below timeout.".into(),
                section,
                Some("stall_budget"),
                "such as  stall_budget = 5",
            );
        }
        let credential = self.credential(section, get("credString"), get("credential_file"), others_read);
        let linux_user = self.user(section, get("linux_user").unwrap_or("root"));
        let command_path = self.folder(section, "command_path", get("command_path"));
        let module = self.folder(section, "module", get("module"));
        let ipc_folder = self.folder(section, "ipc_folder", get("ipc_folder"));
        if let Some(folder) = &ipc_folder {
            self.ipc_folder(section, folder);
        }
        let order = get("order").unwrap_or("0").parse().unwrap_or_else(|_| {
            self.say(
                "SP-CFG-005",
                "order must be a whole number.".into(),
                section,
                Some("order"),
                "such as  order = 1",
            );
            0
        });
        let on_failure = self.word(
            section,
            "on_failure",
            get("on_failure"),
            &[("abort", OnFailure::Abort), ("continue", OnFailure::Continue)],
        );
        let kinds = [("atomic", Snapshot::Atomic), ("per-volume", Snapshot::PerVolume), ("files", Snapshot::Files)];
        let snapshot = self.word(section, "snapshot", get("snapshot"), &kinds);
        self.word(section, "role", get("role"), &[("master", ()), ("slave", ())]);
        let databases = get("dbnames").map_or_else(Vec::new, |list| {
            list.split(',').map(str::trim).filter(|d| !d.is_empty()).map(str::to_owned).collect()
        });
        (self.faults.len() == before).then_some(Workload {
            name: name.to_owned(),
            workload_name: workload_name.to_owned(),
            command_path,
            linux_user: linux_user?,
            credential,
            ipc_folder,
            timeout,
            databases,
            on_failure,
            order,
            snapshot,
            stall_budget,
            module,
        })
    }

    fn seconds(&mut self, section: &str, key: &str, value: Option<&str>, default: u64) -> Duration {
        let seconds = match value.map(str::parse::<u64>) {
            None => default,
            Some(Ok(n)) if (1..=86_400).contains(&n) => n,
            Some(_) => {
                self.say(
                    "SP-CFG-005",
                    format!("{key} must be a whole number of seconds, from 1 to 86400."),
                    section,
                    Some(key),
                    &format!("write  {key} = {default}"),
                );
                default
            }
        };
        Duration::from_secs(seconds)
    }

    /// One of these words; the first is the default.
    fn word<T: Copy>(&mut self, section: &str, key: &str, value: Option<&str>, words: &[(&str, T)]) -> T {
        let Some(value) = value else { return words[0].1 };
        words.iter().find(|(w, _)| *w == value).map_or_else(
            || {
                let known: Vec<_> = words.iter().map(|(w, _)| *w).collect();
                let next = format!("write  {key} = {}", known.join("  or  "));
                self.say("SP-CFG-005", format!("{key} is none of {}.", known.join(", ")), section, Some(key), &next);
                words[0].1
            },
            |(_, t)| *t,
        )
    }

    fn folder(&mut self, section: &str, key: &str, value: Option<&str>) -> Option<PathBuf> {
        let path = PathBuf::from(value?);
        if !path.is_absolute() {
            self.say("SP-CFG-005", format!("{key} must be an absolute path."), section, Some(key), "begin it with  /");
        }
        Some(path)
    }

    fn ipc_folder(&mut self, section: &str, folder: &Path) {
        let why = match folder.symlink_metadata() {
            Err(e) => e.to_string(),
            Ok(m) if m.is_symlink() => "it is a symbolic link".into(),
            Ok(m) if !m.is_dir() => "it is no folder".into(),
            Ok(_) => match folder.canonicalize() {
                Ok(real) if real == folder => return,
                Ok(_) => "a symbolic link leads to it".into(),
                Err(e) => e.to_string(),
            },
        };
        let what = format!("ipc_folder {} cannot be used: {why}.", folder.display());
        self.say(
            "SP-IPC-001",
            what,
            section,
            Some("ipc_folder"),
            "make a real folder for it, owned by root or linux_user",
        );
    }

    fn credential(&mut self, section: &str, text: Option<&str>, file: Option<&str>, others_read: bool) -> Credential {
        let (key, text, others_read) = match (text, file) {
            (Some(_), Some(_)) => {
                self.say(
                    "SP-CFG-004",
                    "credString and credential_file are both there.".into(),
                    section,
                    Some("credential_file"),
                    "keep one of them",
                );
                return Credential::default();
            }
            (None, None) => return Credential::default(),
            (Some(text), None) => ("credString", text.to_owned(), others_read),
            (None, Some(file)) => {
                let read =
                    std::fs::metadata(file).and_then(|m| Ok((m.mode() & 0o044 != 0, std::fs::read_to_string(file)?)));
                match read {
                    Ok((others, text)) => ("credential_file", text, others),
                    Err(e) => {
                        self.say(
                            "SP-CFG-001",
                            format!("credential_file {file} cannot be read: {e}."),
                            section,
                            Some("credential_file"),
                            "write the login string there",
                        );
                        return Credential::default();
                    }
                }
            }
        };
        let credential = Credential::parse(&text).unwrap_or_else(|why| {
            self.say(
                "SP-CFG-005",
                format!("{key}: {why}."),
                section,
                Some(key),
                "such as  credString = -u backup --socket=/run/mysqld/mysqld.sock",
            );
            Credential::default()
        });
        if credential.password.is_some() && others_read {
            self.say(
                "SP-CFG-009",
                format!("{key} holds a password, and others can read the file."),
                section,
                Some(key),
                "chmod 600 the file",
            );
        }
        credential
    }

    fn user(&mut self, section: &str, name: &str) -> Option<User> {
        let found = nix::unistd::User::from_name(name).ok().flatten();
        let Some(user) = found else {
            self.say(
                "SP-CFG-008",
                format!("linux_user {name} does not exist."),
                section,
                Some("linux_user"),
                "name a user of this machine",
            );
            return None;
        };
        let own = nix::unistd::Uid::effective();
        if !own.is_root() && own != user.uid {
            self.say(
                "SP-CFG-008",
                format!("without root, linux_user must be yourself, not {name}."),
                section,
                Some("linux_user"),
                "name yourself, or run it as root",
            );
            return None;
        }
        let groups = std::ffi::CString::new(name)
            .ok()
            .and_then(|n| nix::unistd::getgrouplist(&n, user.gid).ok())
            .map_or_else(|| vec![user.gid.as_raw()], |g| g.into_iter().map(nix::unistd::Gid::as_raw).collect());
        Some(User { name: name.to_owned(), uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups })
    }
}

/// Whether somebody who wrote `typed` may have meant `known`.
fn nearly(known: &str, typed: &str) -> bool {
    strsim::damerau_levenshtein(&known.to_lowercase(), &typed.to_lowercase()) <= 2
}

#[cfg(test)]
mod tests;
