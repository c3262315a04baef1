//! Starting a program as somebody else, with nothing of ours but what it must have.
//!
//! The keeper never forks by itself: it starts this binary once more as `stillpoint launch PLAN`, which changes itself
//! and then becomes the program. So nothing runs between `fork` and `exec` but what the standard library does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, fexecve, getppid, setgroups, setresgid, setresuid, setsid};
use rustix::fs::{OFlags, open};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};
use stillpoint_contract::message::{self, FromEngine};

use super::cgroup;
use super::walls::{self, Walls};

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
    /// All groups of the user.
    pub groups: Vec<u32>,
}

/// What to start. Holds no secret: it is seen in the list of processes for an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables of its environment, beside the few that each has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Who it runs as; `None` leaves that as it is.
    pub ids: Option<Ids>,
    /// Descriptors that it inherits besides the standard streams.
    pub keep: Vec<i32>,
    /// Our process: the program dies with it.
    pub parent: i32,
    /// The control group that it enters.
    pub group: Option<PathBuf>,
    /// The walls round it: only engines have them.
    #[serde(default)]
    pub walls: Option<Walls>,
}

/// Starts it, with these standard streams. `inherit` must be what `launch.keep` names.
///
/// # Errors
/// What the system gives when it cannot start a process.
pub fn spawn(
    launch: &Launch,
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
    inherit: &[BorrowedFd<'_>],
) -> io::Result<tokio::process::Child> {
    let plan = serde_json::to_string(launch)?;
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.arg0("stillpoint").arg("launch").arg(plan).env_clear().stdin(stdin).stdout(stdout).stderr(stderr);
    command.kill_on_drop(true);
    // The keeper starts processes from one thread only, so no other child inherits these.
    for fd in inherit {
        fcntl_setfd(fd.as_fd(), FdFlags::empty())?;
    }
    let child = command.spawn();
    for fd in inherit {
        fcntl_setfd(fd.as_fd(), FdFlags::CLOEXEC)?;
    }
    child
}

/// Becomes the program. Returns only when it could not.
pub fn become_it(launch: &Launch) -> io::Error {
    if launch.walls.is_some() {
        let why = match become_engine(launch) {
            Ok(never) => match never {},
            Err(why) => why,
        };
        // Whoever waits for an engine hears which wall it was.
        if let Ok(keeper) = std::io::stdin().as_fd().try_clone_to_owned() {
            let _ = message::write(&mut UnixStream::from(keeper), &FromEngine::Unwalled(why.to_string()));
        }
        return why;
    }
    match prepare(launch) {
        Err(e) => e,
        Ok(()) => Command::new(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .envs(&launch.environment)
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", "/usr/bin:/bin")
            .exec(),
    }
}

/// As somebody who may not even look at the folder that the program lies in: it is opened before.
fn become_engine(launch: &Launch) -> io::Result<Infallible> {
    let of_program = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", launch.program.display()));
    let program = open(&launch.program, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty());
    let program = program.map_err(io::Error::from).map_err(of_program)?;
    prepare(launch)?;
    fexecve(program, &[c"stillpoint-engine"], &[c""; 0]).map_err(io::Error::from).map_err(of_program)
}

fn prepare(launch: &Launch) -> io::Result<()> {
    if let Some(group) = &launch.group {
        cgroup::enter(group)?;
    }
    setsid()?;
    umask(Mode::from_bits_truncate(0o077));
    std::env::set_current_dir("/")?;
    close_on_exec_from_three()?;
    for fd in &launch.keep {
        keep_open(*fd)?;
    }
    if let Some(ids) = &launch.ids
        && Uid::effective().is_root()
    {
        let groups: Vec<Gid> = ids.groups.iter().map(|g| Gid::from_raw(*g)).collect();
        let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
        setgroups(&groups)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    if let Some(walls) = launch.walls {
        walls::raise(walls)?;
    }
    // After the change of user, which would clear it.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw() != launch.parent {
        return Err(io::Error::other("the keeper is gone"));
    }
    Ok(())
}

#[allow(unsafe_code)]
fn close_on_exec_from_three() -> io::Result<()> {
    // SAFETY: no memory is involved; descriptors are only marked, not closed.
    let done =
        unsafe { nix::libc::syscall(nix::libc::SYS_close_range, 3u32, u32::MAX, nix::libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[allow(unsafe_code)]
fn keep_open(fd: i32) -> io::Result<()> {
    // SAFETY: the descriptor was inherited for this program and nobody here closes it; a wrong number is an error.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(fcntl_setfd(fd, FdFlags::empty())?)
}
