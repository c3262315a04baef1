//! A unit of its own for this process: what stops or kills the unit of the agent that started it kills every process in
//! that unit, and must not kill what thaws.
//!
//! The service manager is asked over its bus, by its own `busctl`, to make a transient scope round this process.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Is there while systemd manages the machine.
const MANAGED: &str = "/run/systemd/system";

/// How long asking for the scope and waiting for it may take together.
const LONGEST: Duration = Duration::from_secs(2);

/// How often it is looked.
const GLANCE: Duration = Duration::from_millis(1);

/// How long the manager waits, when it stops the scope, for what is in it to end by itself: a thaw, and what the guard
/// may need after it. In microseconds.
const STOP: &str = "120000000";

/// Started by the manager when the scope is empty: what keeper and guard left, if both are lost, is taken back at once.
const AFTERWARDS: &str = "stillpoint-recover.service";

/// What moves into a scope of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The process that holds.
    Keeper,
    /// The process that thaws when the keeper does not.
    Guard,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Keeper => "keeper",
            Who::Guard => "guard",
        }
    }
}

/// Moves this process, and what it will start, into a scope of its own, and waits until it is there: two seconds at most.
/// Does nothing where systemd does not manage the machine, or where this process is not root's.
///
/// # Errors
/// In words: why this process is still in the unit of whoever started it.
pub fn leave_unit(who: Who) -> io::Result<()> {
    if !has_units() {
        return Ok(());
    }
    let deadline = Instant::now() + LONGEST;
    let pid = std::process::id();
    let scope = format!("stillpoint-{}-{pid}.scope", who.name());
    // Before version 249 no unit could be started after another that ended well.
    ask(&scope, who, pid, true, deadline).or_else(|_| ask(&scope, who, pid, false, deadline))?;
    while !is_in(&std::fs::read_to_string("/proc/self/cgroup")?, &scope) {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("systemd did not make {scope} in time")));
        }
        std::thread::sleep(GLANCE);
    }
    Ok(())
}

/// Whether this child of ours lives in another unit than we do; also where there are no units.
pub fn is_apart(pid: u32) -> bool {
    let unit = |path: String| std::fs::read_to_string(path).ok();
    !has_units() || unit(format!("/proc/{pid}/cgroup")).is_none_or(|its| Some(its) != unit("/proc/self/cgroup".into()))
}

/// Whether a unit can be had: we are root, and systemd is the first process that we see. In a container that only shows
/// the folder of the machine outside, our number would be another process's.
fn has_units() -> bool {
    rustix::process::geteuid().is_root()
        && Path::new(MANAGED).is_dir()
        && std::fs::read_to_string("/proc/1/comm").is_ok_and(|name| name.trim_end() == "systemd")
}

/// Whether this process is in the scope, by the text of its `/proc/…/cgroup`.
fn is_in(groups: &str, scope: &str) -> bool {
    groups.lines().any(|line| line.split('/').any(|part| part == scope))
}

fn ask(scope: &str, who: Who, pid: u32, afterwards: bool, deadline: Instant) -> io::Result<()> {
    let (pid, description) = (pid.to_string(), format!("Stillpoint's {}", who.name()));
    let mut command = Command::new("busctl");
    command.env_clear().env("LC_ALL", "C.UTF-8").env("PATH", "/usr/bin:/bin");
    command.args(["--system", "--quiet", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"]);
    command.args(["org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))"]);
    let count = 7 + if afterwards { 2 } else { 0 } + u8::from(who == Who::Keeper);
    // At boot nothing is waited for that stands in "After".
    command.args([scope, "ignore-dependencies", &count.to_string()]);
    command.args(["Description", "s", &description]);
    command.args(["PIDs", "au", "1", &pid]);
    command.args(["Slice", "s", "system.slice"]);
    // Each client gets a control group below this one.
    command.args(["Delegate", "b", "true"]);
    command.args(["CollectMode", "s", "inactive-or-failed"]);
    command.args(["TimeoutStopUSec", "t", STOP]);
    // When the machine shuts down the keeper is told to thaw, before the databases are told to end; the guard is told
    // nothing, and ends after the keeper.
    match who {
        Who::Keeper => command.args(["DefaultDependencies", "b", "true", "After", "as", "1", "multi-user.target"]),
        Who::Guard => command.args(["DefaultDependencies", "b", "false"]),
    };
    if afterwards {
        command.args(["OnSuccess", "as", "1", AFTERWARDS, "OnFailure", "as", "1", AFTERWARDS]);
    }
    // No other units.
    command.arg("0");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|e| io::Error::other(format!("busctl cannot be started: {e}")))?;
    let ended = wait(child, deadline);
    if ended.is_err() {
        // Not waited for: one that hangs on a disk must not hold us up.
        let _ = child.kill();
    }
    if ended?.success() {
        return Ok(());
    }
    let mut why = String::new();
    if let Some(stderr) = &mut child.stderr {
        let _ = stderr.take(1024).read_to_string(&mut why);
    }
    Err(io::Error::other(format!("systemd refused: {}", why.trim())))
}

fn wait(child: &mut Child, deadline: Instant) -> io::Result<std::process::ExitStatus> {
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(status),
            None if Instant::now() > deadline => return Err(io::Error::other("systemd does not answer")),
            None => std::thread::sleep(GLANCE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_in;

    #[test]
    fn a_scope_is_found_in_either_version() {
        let scope = "stillpoint-guard-7.scope";
        assert!(is_in("0::/system.slice/stillpoint-guard-7.scope\n", scope));
        assert!(is_in("2:cpu:/\n1:name=systemd:/system.slice/stillpoint-guard-7.scope\n0::/\n", scope));
        assert!(!is_in("0::/system.slice/stillpoint-guard-77.scope\n", scope));
        assert!(!is_in("0::/system.slice/agent.service\n", scope));
    }
}
