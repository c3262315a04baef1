//! The interface `state`: small files of one workload in `ipc_folder`, and nowhere else.
//!
//! Every path goes through a folder that was opened once (cap-std), so no name and no symbolic link leads out of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use stillpoint_contract::message::LONGEST_NAME;

use crate::config::Workload;
use crate::fault::{Exit, Fault};

/// The most files of one workload.
const MOST_FILES: usize = 64;

/// The file that is the host's own: no module reads or writes it.
pub const RECOVERY_POINT: &str = "recovery-point.json";

/// The folder of one workload's files, by their prefix. Everything here may block: the filesystem may be frozen by the
/// agent. So it is called on a thread of its own.
#[derive(Clone)]
pub struct StateFolder {
    dir: Arc<Dir>,
    folder: PathBuf,
    prefix: String,
    most: usize,
}

impl StateFolder {
    /// Opens `ipc_folder`. `None` where the workload has none.
    ///
    /// # Errors
    /// `SP-IPC-010`.
    pub fn open(workload: &Workload, most_kib: u32) -> Result<Option<StateFolder>, Fault> {
        let Some(folder) = &workload.ipc_folder else { return Ok(None) };
        // The configuration was checked for links; between that and now somebody may have put one there.
        let opened =
            openat2(CWD, folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        let dir = opened.map(|fd| Dir::from_std_file(File::from(fd))).map_err(|e| {
            Fault::new("SP-IPC-010", Exit::Usage, format!("ipc_folder {} cannot be opened: {e}.", folder.display()))
                .of(&workload.name)
                .done("Nothing was frozen.")
                .next("make the folder, owned by root or linux_user")
        })?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name: String = workload.name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        Ok(Some(StateFolder {
            dir: Arc::new(dir),
            folder: folder.clone(),
            prefix: format!("stillpoint.{name}."),
            most: most_kib as usize * 1024,
        }))
    }

    /// Replaces a file whole.
    pub fn put(&self, name: &str, content: &[u8]) -> Result<(), String> {
        self.checked(name)?;
        let mut others = self.names()?;
        others.retain(|n| n != name && n != RECOVERY_POINT);
        if others.len() >= MOST_FILES {
            return Err(format!("more than {MOST_FILES} state files"));
        }
        let others: u64 = others.iter().filter_map(|n| self.dir.metadata(self.path(n)).ok()).map(|m| m.len()).sum();
        if others + content.len() as u64 > self.most as u64 {
            return Err(format!("more than {} bytes of state", self.most));
        }
        self.replace(name, content).map(drop).map_err(|e| e.to_string())
    }

    /// Replaces a file whole, on disk before this returns, and keeps it open.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<cap_std::fs::File> {
        let new = format!(".{}{name}.new", self.prefix);
        let _ = self.dir.remove_file(&new);
        let written = (|| {
            let mut file = self.dir.open_with(&new, OpenOptions::new().write(true).create_new(true))?;
            file.write_all(content)?;
            file.sync_all()?;
            self.dir.rename(&new, &self.dir, self.path(name))?;
            self.dir.open(".")?.sync_all()?;
            Ok(file)
        })();
        if written.is_err() {
            let _ = self.dir.remove_file(&new);
        }
        written
    }

    /// Reads a file.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        self.checked(name)?;
        let path = self.path(name);
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match self.dir.open_with(&path, OpenOptions::new().read(true).custom_flags(flags)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
            Ok(file) => file,
        };
        if !file.metadata().map_err(|e| e.to_string())?.is_file() {
            return Err("it is no file".into());
        }
        let mut content = Vec::new();
        file.take(self.most as u64 + 1).read_to_end(&mut content).map_err(|e| e.to_string())?;
        if content.len() > self.most { Err("it is longer than the limit".into()) } else { Ok(Some(content)) }
    }

    /// The names of all files of this workload.
    pub fn names(&self) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        for entry in self.dir.entries().map_err(|e| e.to_string())? {
            let name = entry.map_err(|e| e.to_string())?.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_prefix(&self.prefix) {
                // Others may write to the folder too. One more than a module can make is the host's own.
                if out.len() > MOST_FILES {
                    return Err(format!("more than {MOST_FILES} state files"));
                }
                out.push(name.to_owned());
            }
        }
        out.sort();
        Ok(out)
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove(&self, name: &str) -> Result<(), String> {
        self.checked(name)?;
        match self.dir.remove_file(self.path(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.to_string()),
            _ => Ok(()),
        }
    }

    /// The whole path of a file that the database is to write itself.
    pub fn whole_path(&self, name: &str) -> Result<String, String> {
        self.checked(name)?;
        let path = self.folder.join(self.path(name));
        path.into_os_string().into_string().map_err(|_| "ipc_folder's path is not UTF-8".into())
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn checked(&self, name: &str) -> Result<(), String> {
        let good = (1..=LONGEST_NAME).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
            && name != RECOVERY_POINT;
        if good { Ok(()) } else { Err(format!("{name:?} is no name for a state file")) }
    }
}
