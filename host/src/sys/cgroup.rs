//! A control group (version 2) of its own for each client: whoever a client has started, and wherever that process has
//! gone to since, is ended with it.
//!
//! No process-id namespace stands in where there is none: a server that a client starts for itself (Oracle's "bequeath")
//! tells the instance its number, and a number of another namespace would be believed. Then the client's process group
//! is all that can be ended, and `check` says so.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static OWN: OnceLock<Option<PathBuf>> = OnceLock::new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Makes a group for one client, below the group of this process. `None` where none can be made.
pub fn make() -> Option<PathBuf> {
    let own = OWN.get_or_init(own).as_ref()?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let group = own.join(format!("stillpoint-{}-{number}", std::process::id()));
    std::fs::create_dir(&group).ok()?;
    // Without this file (Linux 5.14) nothing here can be ended at once.
    if group.join("cgroup.kill").exists() {
        return Some(group);
    }
    let _ = std::fs::remove_dir(&group);
    None
}

/// Whether clients can have groups of their own here.
pub fn can_be_made() -> bool {
    match make() {
        Some(group) => {
            remove(&group);
            true
        }
        None => false,
    }
}

/// The group of this process, as a folder: in `/proc/self/cgroup` its line begins with `0::`.
fn own() -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounted = mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        // Number, parent, device, root, place.
        (filesystem.starts_with("cgroup2 ") && fields.nth(3)? == "/").then(|| fields.next())?
    })?;
    let folder = Path::new(mounted).join(path);
    folder.join("cgroup.procs").exists().then_some(folder)
}

/// Takes away the empty groups that processes of ours left which are gone.
pub fn sweep() {
    let Some(own) = OWN.get_or_init(own) else { return };
    for entry in std::fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|n| n.strip_prefix("stillpoint-")?.split('-').next()?.parse::<i32>().ok());
        if maker.is_some_and(|pid| super::process::ProcessId::of(pid).is_none()) {
            // One that is not empty stays.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// Moves this process into the group.
///
/// # Errors
/// What the system gives.
pub fn enter(group: &Path) -> io::Result<()> {
    std::fs::write(group.join("cgroup.procs"), "0")
}

/// Kills all that is in the group. A group that is gone is empty.
///
/// # Errors
/// What the system gives.
pub fn kill(group: &Path) -> io::Result<()> {
    match std::fs::write(group.join("cgroup.kill"), "1") {
        Err(e) if is_gone(&e) => Ok(()),
        other => other,
    }
}

/// Whether nothing runs in the group.
pub fn is_empty(group: &Path) -> bool {
    match std::fs::read_to_string(group.join("cgroup.events")) {
        Ok(events) => events.lines().any(|line| line == "populated 0"),
        Err(e) => is_gone(&e),
    }
}

/// The processes in the group.
pub fn processes(group: &Path) -> Vec<i32> {
    let list = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Takes the folder of an empty group away, soon: the kernel may still be busy with its last process.
pub fn remove(group: &Path) {
    let deadline = Instant::now() + Duration::from_millis(100);
    while let Err(e) = std::fs::remove_dir(group)
        && !is_gone(&e)
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ENODEV)
}
