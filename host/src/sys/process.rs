//! Other processes: who they are, whether they are still the same, and how to end them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::cgroup;

/// A process that cannot be mistaken for another one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<ProcessId> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, so count from the last one.
        let (_, rest) = stat.rsplit_once(") ")?;
        if rest.starts_with('Z') {
            return None;
        }
        let started = rest.split(' ').nth(19)?.parse().ok()?;
        Some(ProcessId { pid, started })
    }

    /// Whether it still runs.
    pub fn runs(self) -> bool {
        ProcessId::of(self.pid) == Some(self)
    }

    /// Kills it, and all that it started: its control group, and the process group that began with it. Waits until they
    /// are gone.
    ///
    /// # Errors
    /// `TimedOut` when something is still there after `longest`.
    pub fn kill(self, group: Option<&Path>, longest: Duration) -> io::Result<()> {
        let fd = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // Checked after the descriptor is held: from here the number cannot be reused. While anybody is left in the
        // process group it cannot be reused either, so another process of this number means that that one is gone.
        let reused = match ProcessId::of(self.pid) {
            Some(now) if now != self => true,
            Some(_) => {
                if let Some(fd) = fd {
                    pidfd_send_signal(&fd, Signal::KILL)?;
                }
                false
            }
            None => false,
        };
        if let Some(group) = group {
            cgroup::kill(group)?;
        }
        if !reused {
            kill_group(self.pid);
        }
        let deadline = Instant::now() + longest;
        while self.runs() || !(reused || group_is_gone(self.pid)) || !group.is_none_or(cgroup::is_empty) {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(group) = group {
            cgroup::remove(group);
        }
        Ok(())
    }
}

/// What the kernel calls a process.
///
/// # Errors
/// There is none of this number.
pub fn name(pid: i64) -> io::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).map(|name| name.trim_end_matches('\n').to_owned())
}

/// The folder in which a process works.
///
/// # Errors
/// There is no such process, or it is somebody else's and we are not root.
pub fn working_folder(pid: i64) -> io::Result<PathBuf> {
    let folder = std::fs::read_link(format!("/proc/{pid}/cwd"))?;
    let sees = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/mnt"));
    // In a container the same path is another folder.
    if sees(&pid.to_string())? != sees("self")? || folder.to_string_lossy().ends_with(" (deleted)") {
        return Err(io::Error::other("it is in a container, or is gone"));
    }
    Ok(folder)
}

/// A process, for people: its name, its number, and since when it runs.
pub fn words(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let ticks = u64::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100));
    let started = ProcessId::of(pid).zip(ticks.ok()).map(|(id, ticks)| Duration::from_secs(id.started / ticks.max(1)));
    let since = started.map(|s| super::boot::now().saturating_sub(s));
    let since = since.map_or(String::new(), |d| format!(", running for {} s", d.as_secs()));
    format!("{} (process {pid}{since})", name.trim())
}

/// The processes that hold a lock on this file, or wait for one: as the kernel lists them, without those that the lock
/// belongs to an open file and not to a process.
pub fn lock_holders(inode: u64) -> Vec<i32> {
    let list = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let holder = |line: &str| {
        // 1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 128 128
        let mut fields = line.split_whitespace().skip_while(|f| f.ends_with(':') || *f == "->").skip(3);
        let (pid, file) = (fields.next()?.parse::<i32>().ok()?, fields.next()?);
        (file.rsplit(':').next()? == inode.to_string() && pid > 0).then_some(pid)
    };
    let mut out: Vec<i32> = list.lines().filter_map(holder).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Kills a child of ours that has not been waited for, and all that it started.
pub fn kill_all(pid: i32, group: Option<&Path>) {
    if let Some(group) = group {
        let _ = cgroup::kill(group);
    }
    kill_group(pid);
}

/// Whether nothing of that runs any more.
pub fn all_are_gone(pid: i32, group: Option<&Path>) -> bool {
    group.map_or_else(|| group_is_gone(pid), cgroup::is_empty)
}

/// Sends a signal to a child of ours that has not been waited for.
pub fn signal(pid: i32, signal: i32) {
    if let (Ok(signal), true) = (nix::sys::signal::Signal::try_from(signal), pid > 0) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }
}

/// The id that the kernel gave this boot.
///
/// # Errors
/// What reading `/proc` gives.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The process at the other end of a connection.
pub fn peer(stream: &std::os::unix::net::UnixStream) -> Option<i32> {
    rustix::net::sockopt::socket_peercred(stream).ok().map(|c| c.pid.as_raw_pid())
}

/// Whether this process, or one that it started, has that file open.
pub fn has_open(pid: i32, group: Option<&Path>, device: u64, inode: u64) -> bool {
    let mut open = open_files(pid, group).filter_map(|fd| std::fs::metadata(fd).ok());
    open.any(|m| (m.dev(), m.ino()) == (device, inode))
}

/// A file whose path begins so, which this process, or one that it started, has open and somebody has removed.
pub fn has_removed(pid: i32, group: Option<&Path>, begin: &Path) -> Option<PathBuf> {
    open_files(pid, group).find_map(|fd| {
        let path = std::fs::read_link(&fd).ok()?.into_os_string();
        let path =
            path.as_bytes().strip_suffix(b" (deleted)").filter(|p| p.starts_with(begin.as_os_str().as_bytes()))?;
        (std::fs::metadata(fd).ok()?.nlink() == 0).then(|| PathBuf::from(OsStr::from_bytes(path)))
    })
}

/// The open files of this process and of those that it started, as links.
fn open_files(pid: i32, group: Option<&Path>) -> impl Iterator<Item = PathBuf> + '_ {
    let others = move || group.map_or_else(|| members(pid), cgroup::processes);
    let all = std::iter::once(pid).chain(std::iter::once_with(others).flatten());
    let of = |pid| std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    all.flat_map(of).map(|fd| fd.path())
}

/// Kills every process of the group that `launch` began with this one.
fn kill_group(pid: i32) {
    if pid > 1 {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Whether nothing of that group runs any more. What has ended and was not waited for does not count.
fn group_is_gone(pid: i32) -> bool {
    members(pid).is_empty()
}

/// The processes of the group that began with this one, without those that have ended.
fn members(leader: i32) -> Vec<i32> {
    let leader = leader.to_string();
    let ours = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        // State, parent, group.
        (!matches!(fields.next()?, "Z" | "X") && fields.nth(1)? == leader).then_some(pid)
    };
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(ours).collect()
}
