//! `workload.conf` into types: the INI format of Azure Backup's enhanced pre-post scripts, unchanged, and several
//! `[workload NAME]` sections, and `[logbackup]`. All mistakes are told at once, each with its place and what to write
//! instead; nothing that is written there is ignored in silence.
//!
//! | id | what |
//! |---|---|
//! | `SP-CFG-001` | the file is missing or cannot be read |
//! | `SP-CFG-002` | a line is neither heading, comment nor `key = value` |
//! | `SP-CFG-003` | a section or key is unknown, or stands outside any section |
//! | `SP-CFG-004` | a section, a name or a key is there twice, or two keys say the same |
//! | `SP-CFG-005` | a value is not what it must be |
//! | `SP-CFG-006` | a needed key is missing |
//! | `SP-CFG-007` | a key of Azure's that is not honoured, with the replacement |
//! | `SP-CFG-008` | `linux_user` does not exist, or may not be used |
//! | `SP-CFG-009` | a file holds a secret and others can read it |
//! | `SP-CFG-010` | others could have written a file |
//! | `SP-CFG-011` | two sections ask for what one cycle cannot do |
//! | `SP-CFG-012` | a login string for a client that takes none |
//! | `SP-CFG-013` | no workload has the name that was asked for |
//! | `SP-CFG-014` | a line of a list of instances is not understood, or its home cannot be used |
//! | `SP-CFG-020` | warning: `timeout` is below 60 seconds |
//! | `SP-CFG-022` | warning: a key of Azure's log backup that is done without |
//! | `SP-CFG-023` | warning: `dbnames`, where the whole server is frozen |
//! | `SP-IPC-001` | `ipc_folder` cannot be used |
//! | `SP-IPC-002` | others could put another folder in the place of `ipc_folder` |
//! | `SP-IPC-003` | warning: others can replace what is written into `ipc_folder` |

mod credential;
mod key;
mod log_backup;
mod oratab;
mod place;
mod section;

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stillpoint_contract::manifest::Snapshot;

pub use credential::{As, Credential, Login, Secret};
pub use oratab::Instance;

use crate::fault::{Exit, Fault};
use crate::sys::ownership;

/// The largest configuration that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// The largest file of a login string, in bytes.
const LARGEST_CREDENTIAL: u64 = 64 * 1024;

/// A configuration that can be acted on.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The file.
    pub path: PathBuf,
    /// In the order of the file.
    pub workloads: Vec<Workload>,
    /// The smallest `timeout` of all.
    pub timeout: Duration,
    /// What the agent will do: the same in every section.
    pub snapshot: Snapshot,
    /// The filesystems to freeze once the databases stand still, each once, in the order of the file.
    pub filesystems: Vec<PathBuf>,
    /// How many cycles' records are kept: the same in every section.
    pub keep_records: u32,
    /// `[logbackup] baseLocation`: the folder that closed logs are copied to, absolute. Whether it is there is asked when logs
    /// are copied: it may be a mount that is absent while databases are frozen.
    pub log_destination: Option<PathBuf>,
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
    /// Which of several instances on this machine, where its client must be told.
    pub instance: Option<Instance>,
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
    /// What the operator takes the server for.
    pub role: Option<Role>,
    /// Whether a server that is no replica is refused.
    pub only_replica: bool,
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
    /// The filesystems to freeze beside it.
    pub filesystems: Vec<PathBuf>,
    /// How many cycles' records are kept.
    pub keep_records: u32,
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
    /// The home folder.
    pub home: PathBuf,
}

/// What a server is to the others that hold the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// `master`: it takes writes of its own.
    Primary,
    /// `slave`: it follows another server.
    Replica,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        })
    }
}

/// Whether the agent may snapshot when a freeze failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It may not.
    Abort,
    /// It may; the verdict says so.
    Continue,
}

/// The file to read: the one that was named, else `workload.conf` in `etc`, else Azure's own where `etc` is the
/// machine's. It need not exist: [`read`] says so then.
pub fn find(named: Option<&Path>, etc: &Path) -> PathBuf {
    const AZURE: &str = "/etc/azure/workload.conf";
    let own = etc.join("workload.conf");
    match named {
        Some(path) => path.to_owned(),
        // A link that leads nowhere is a mistake to be told, not a file to be passed over.
        None if own.symlink_metadata().is_err() && etc == Path::new("/etc/stillpoint") && Path::new(AZURE).exists() => {
            AZURE.into()
        }
        None => own,
    }
}

/// Reads a configuration.
///
/// # Errors
/// Every mistake at once.
pub fn read(path: &Path) -> Result<Configuration, Vec<Fault>> {
    let (bytes, mode) = load(path).map_err(|fault| vec![fault])?;
    parse(path, bytes, mode & 0o044 != 0)
}

/// Reads a `credential_file` once more, for recovery: nobody but root or `uid` could have written it, nobody else reads it.
///
/// # Errors
/// In words, without a word of the file.
pub fn credential_file(path: &Path, uid: u32) -> Result<Credential, String> {
    let shown = path.display();
    let (bytes, meta) =
        slurp(path, LARGEST_CREDENTIAL).map_err(|e| format!("credential_file {shown} cannot be read: {e}"))?;
    ownership::check(path, &[uid]).map_err(|p| format!("others could have written credential_file: {p}"))?;
    let roots = ownership::check(path, &[]).is_ok();
    if meta.mode() & 0o077 != 0 || !(roots || meta.uid() == uid) {
        return Err(format!("credential_file {shown} is not linux_user's alone"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("credential_file {shown} is not UTF-8"))?;
    Credential::parse(&text).map_err(|why| format!("credential_file {shown} is not understood: {why}"))
}

/// Reads the bytes of a configuration. `others_read` tells whether others than its owner can read the file. Users,
/// folders and credential files that it names are looked up on this machine.
///
/// # Errors
/// Every mistake at once.
pub fn parse(path: &Path, bytes: Vec<u8>, others_read: bool) -> Result<Configuration, Vec<Fault>> {
    let text = text(path, bytes).map_err(|fault| vec![fault])?;
    section::read(path, &text, others_read)
}

/// A fault before anything was begun.
fn fault(id: &str, what: String) -> Fault {
    Fault::new(id, Exit::Usage, what).done("Nothing was started.")
}

/// The bytes of the configuration, and the file's mode.
fn load(path: &Path) -> Result<(Vec<u8>, u32), Fault> {
    let shown = path.display();
    let unread = |why: String| {
        fault("SP-CFG-001", format!("the configuration {shown} cannot be read: {why}."))
            .next("write the configuration there, or name another file with  --config")
    };
    let (bytes, meta) = slurp(path, LARGEST).map_err(unread)?;
    ownership::check(path, &[]).map_err(|p| {
        fault("SP-CFG-010", format!("others could have written the configuration: {p}."))
            .next(format!("chown root {shown} && chmod go-w {shown}  and the same for the folders above it"))
    })?;
    Ok((bytes, meta.mode()))
}

/// The text of the configuration.
fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Fault> {
    let shown = path.display();
    let text = String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(good).filter(|b| **b == b'\n').count() + 1;
        fault("SP-CFG-001", format!("the configuration {shown} is not UTF-8, at line {line}."))
            .next("save it as plain UTF-8 text")
    })?;
    // Windows editors begin a file with this mark, and end lines with two characters.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n");
    if let Some(at) = text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\t')) {
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        return Err(fault(
            "SP-CFG-001",
            format!("the configuration {shown} holds a control character, at line {line}."),
        )
        .next("save it as plain UTF-8 text"));
    }
    Ok(text)
}

/// The bytes of a file of at most `largest` bytes, and what it is: of the very file that was read. Never waits for a pipe.
fn slurp(path: &Path, largest: u64) -> Result<(Vec<u8>, Metadata), String> {
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let open = std::fs::OpenOptions::new().read(true).custom_flags(nonblock).open(path);
    let file = open.map_err(|e| e.to_string())?;
    let meta = file.metadata().map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err("it is no file".into());
    }
    let mut bytes = Vec::new();
    file.take(largest + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > largest {
        return Err(format!("it is longer than {} KiB", largest / 1024));
    }
    Ok((bytes, meta))
}

#[cfg(test)]
mod tests;
