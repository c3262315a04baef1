//! The processes of this machine, as anybody sees them.

use nix::unistd::Pid;

use crate::site::Site;

/// What anybody can read of a process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub id: i32,
    /// Its words, with a NUL behind each.
    pub words: String,
    /// Its environment, in the same way.
    pub environment: String,
}

/// Every process of this machine.
pub fn all() -> Vec<Process> {
    let id = |e: std::fs::DirEntry| e.file_name().to_str().and_then(|n| n.parse::<i32>().ok());
    let read = |id: i32, what: &str| {
        let bytes = std::fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(id);
    ids.map(|id| Process { id, words: read(id, "cmdline"), environment: read(id, "environ") }).collect()
}

/// The children of a process.
pub fn children(of: Pid) -> Vec<Pid> {
    let parent = of.to_string();
    let is_child = |id: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.split(' ').nth(1) == Some(&parent))
    };
    all().into_iter().map(|p| p.id).filter(is_child).map(Pid::from_raw).collect()
}

/// The name of its program, as the kernel keeps it. Empty when it is gone.
pub fn name(of: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{of}/comm")).unwrap_or_default().trim().to_owned()
}

/// The database's clients that this installation's keeper started: `mariadb`, `psql`, `sqlite3`, or scripts so named.
///
/// # Panics
/// When there is none.
pub fn clients(site: &Site) -> Vec<Pid> {
    let mut out = children(site.process("keeper"));
    out.retain(|pid| ["mariadb", "psql", "sqlite3"].contains(&name(*pid).as_str()));
    assert!(!out.is_empty(), "the keeper has clients");
    out
}

/// Nobody but this test shows these words, in its words or its environment.
///
/// # Panics
/// When somebody does.
pub fn show_nowhere(secret: &str) {
    let own = i32::try_from(std::process::id()).expect("a process id");
    for process in all().iter().filter(|p| p.id != own) {
        for text in [&process.words, &process.environment] {
            assert!(!text.contains(secret), "process {} shows the secret: {text}", process.id);
        }
    }
}
