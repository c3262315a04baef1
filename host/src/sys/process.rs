//! Other processes: who they are, whether they are still the same, and how to end them.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

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

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// `TimedOut` when it is still there after `longest`.
    pub fn kill(self, longest: Duration) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        // Checked after the descriptor is held: from here the number cannot be reused.
        if !self.runs() {
            return Ok(());
        }
        pidfd_send_signal(&fd, Signal::KILL)?;
        let deadline = Instant::now() + longest;
        while self.runs() {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
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
