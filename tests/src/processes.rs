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

/// The ids of all processes of this machine.
pub fn ids() -> impl Iterator<Item = i32> {
    let id = |e: std::fs::DirEntry| e.file_name().to_str().and_then(|n| n.parse().ok());
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(id)
}

/// Every process of this machine.
pub fn all() -> Vec<Process> {
    let read = |id: i32, what: &str| {
        let bytes = std::fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    ids().map(|id| Process { id, words: read(id, "cmdline"), environment: read(id, "environ") }).collect()
}

/// Those whose words hold all of these.
pub fn with_words(words: &[&str]) -> Vec<Pid> {
    let ours = all().into_iter().filter(|p| words.iter().all(|w| p.words.contains(w)));
    ours.map(|p| Pid::from_raw(p.id)).collect()
}

/// The children of a process.
pub fn children(of: Pid) -> Vec<Pid> {
    let parent = of.to_string();
    let is_child = |id: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.split(' ').nth(1) == Some(&parent))
    };
    ids().filter(is_child).map(Pid::from_raw).collect()
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

/// No process shows this, in its words or its environment.
///
/// # Panics
/// When somebody does.
pub fn show_nowhere(secret: &str) {
    for process in all() {
        for text in [&process.words, &process.environment] {
            assert!(!text.contains(secret), "process {} shows the secret: {text}", process.id);
        }
    }
}
