//! Simulated Oracle instances: what a database keeps, as a folder for each instance, and a client that answers as
//! `sqlplus` is documented to. It is no Oracle: it shows that the module does what the manuals say, and not that the
//! manuals are right.
//!
//! An instance lies in `HOME/dbs/SID`: `state.json` is what the database knows, `behaviour` says how its client behaves,
//! `trace` is every statement that it was sent and by whom.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A home of Oracle's programs, with instances.
pub struct Home {
    folder: TempDir,
    owner: u32,
}

/// One instance.
#[derive(Debug, Clone)]
pub struct Instance {
    home: PathBuf,
    /// Its `ORACLE_SID`.
    pub sid: String,
}

impl Home {
    /// A home whose programs belong to this user, with `sqlplus` in it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(sqlplus: &Path, owner: u32) -> Home {
        let folder = crate::folder::with_mode(0o755);
        for below in ["bin", "dbs"] {
            std::fs::create_dir(folder.path().join(below)).unwrap();
        }
        std::fs::copy(sqlplus, folder.path().join("bin/sqlplus")).unwrap();
        std::fs::write(folder.path().join("bin/oracle"), "").unwrap();
        let all = ["bin/sqlplus", "bin/oracle", "bin", "dbs", ""];
        all.iter().for_each(|p| chown(folder.path().join(p), Some(owner), None).unwrap());
        Home { folder, owner }
    }

    /// `ORACLE_HOME`.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes an instance whose database is open, in ARCHIVELOG mode and whole. Its owner may connect as SYSBACKUP.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn instance(&self, sid: &str) -> Instance {
        let instance = Instance { home: self.path().to_owned(), sid: sid.into() };
        let folder = instance.folder();
        for below in ["", "sessions", "arch", "data"] {
            let below = folder.join(below);
            std::fs::create_dir_all(&below).unwrap();
            // The server of a real one is one user; this one is whoever its client is.
            open_to_all(&below, 0o777);
        }
        let data = |name: &str| folder.join("data").join(name).display().to_string();
        let files: Vec<Value> = ["system01.dbf", "sysaux01.dbf", "users01.dbf"]
            .iter()
            .zip(1..)
            .map(|(name, number)| json!({ "number": number, "name": data(name), "active": false, "change": 0, "time": "" }))
            .collect();
        for name in ["system01.dbf", "sysaux01.dbf", "users01.dbf", "redo01.log", "control01.ctl"] {
            std::fs::write(folder.join("data").join(name), format!("{sid} {name}\n")).unwrap();
        }
        std::fs::write(folder.join("trace"), "").unwrap();
        let state = json!({
            "status": "OPEN", "log_mode": "ARCHIVELOG", "role": "PRIMARY", "open_mode": "READ WRITE", "cdb": "YES",
            "version": "19.0.0.0.0", "archiver": "STARTED", "started": "2026-01-02 03-04-05", "dbid": 1_234_567_890_u64 + sid.len() as u64,
            "scn": 2_000_000, "checkpoint": 1_990_000, "resetlogs": 1, "sequence": 41, "archived": 40, "next_sid": 100,
            "files": files, "fuzzy": 0, "backup_users": [self.owner], "dba_users": [], "passwords": {}, "cluster": 0,
            "area_percent": 10, "commit_wait": "",
        });
        std::fs::write(folder.join("state.json"), state.to_string()).unwrap();
        for name in ["state.json", "trace"] {
            open_to_all(&folder.join(name), 0o666);
        }
        instance
    }
}

impl Instance {
    /// Of the environment that a client was given. `None`: there is no such instance.
    pub fn named(home: &Path, sid: &str) -> Option<Instance> {
        let found = Instance { home: home.to_owned(), sid: sid.into() };
        found.folder().join("state.json").is_file().then_some(found)
    }

    /// Where it lies.
    pub fn folder(&self) -> PathBuf {
        self.home.join("dbs").join(&self.sid)
    }

    /// The state, and what `change` makes of it, as one step.
    ///
    /// # Panics
    /// When it cannot be read or written.
    pub fn with<T>(&self, change: impl FnOnce(&mut Value) -> T) -> T {
        // The folder itself: every user can open it.
        let lock =
            Flock::lock(File::open(self.folder()).unwrap(), FlockArg::LockExclusive).map_err(|(_, e)| e).unwrap();
        let file = self.folder().join("state.json");
        let text = std::fs::read_to_string(&file).unwrap();
        let mut state: Value = serde_json::from_str(&text).unwrap();
        let before = state.clone();
        let done = change(&mut state);
        if state != before {
            std::fs::write(&file, state.to_string()).unwrap();
        }
        drop(lock);
        done
    }

    /// Sets one thing that it knows.
    pub fn set(&self, key: &str, value: impl Into<Value>) {
        self.with(|state| state[key] = value.into());
    }

    /// What it knows.
    pub fn get(&self, key: &str) -> Value {
        self.with(|state| state[key].clone())
    }

    /// How many files are in backup mode.
    pub fn in_backup(&self) -> usize {
        self.with(|state| state["files"].as_array().unwrap().iter().filter(|f| f["active"] == true).count())
    }

    /// Has its client behave: lines such as `hang SELECT`, `slow 300 ALTER DATABASE BEGIN`, `greet TEXT`,
    /// `fail ORA-00257: … | ALTER SYSTEM`, `meanwhile ALTER SYSTEM` (somebody begins a backup). A statement is meant that begins so.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn behave(&self, lines: &str) {
        std::fs::write(self.folder().join("behaviour"), lines).unwrap();
    }

    /// All statements that it was sent, each with the user id of its client before it.
    pub fn trace(&self) -> Vec<String> {
        std::fs::read_to_string(self.folder().join("trace")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// How often a statement was sent that begins so.
    pub fn sent(&self, begins: &str) -> usize {
        self.trace()
            .iter()
            .filter(|line| line.split_once(' ').is_some_and(|(_, text)| text.starts_with(begins)))
            .count()
    }

    /// Notes a statement.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn note(&self, text: &str) {
        let mut trace = File::options().append(true).open(self.folder().join("trace")).unwrap();
        writeln!(trace, "{} {text}", nix::unistd::geteuid()).unwrap();
    }

    /// Ends it as a crash of the machine does.
    pub fn crash(&self) {
        self.set("status", "DOWN");
    }

    /// Starts it as far as it comes: a database that crashed in backup mode is mounted, and not opened (ORA-10873).
    pub fn start(&self) {
        let stuck = self.in_backup() > 0;
        self.with(|state| {
            state["status"] = if stuck { "MOUNTED" } else { "OPEN" }.into();
            state["open_mode"] = if stuck { "MOUNTED" } else { "READ WRITE" }.into();
            state["started"] = "2026-02-03 04-05-06".into();
        });
    }
}

fn open_to_all(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}
