//! The walls round an engine that are raised before its program begins, and what shows from outside that they stand.
//!
//! `launch` raises these in the process that then becomes the engine, while it has one thread. The engine raises the
//! rest itself (landlock, seccomp, not dumpable): they would not let it begin.

use std::io;

use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use serde::{Deserialize, Serialize};

/// The first of the ids that are nobody's: above those that systemd gives to containers, below those that mean
/// something to the kernel. A process number is added, which no two that live share.
const FIRST_ID: u32 = 1_900_000_000;

/// Seconds of processor time: more than the longest phases together, less than for ever.
const PROCESSOR: u64 = 8000;

/// Main thread, the one that raises the epoch, and room for one.
const THREADS: u64 = 3;

/// What one engine is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// Bytes of memory that it may write to: its module's and its own.
    pub memory: u64,
}

/// The user id, and group id, of the engine that is this process. Only root can give it.
pub fn own_id(pid: u32) -> u32 {
    FIRST_ID.saturating_add(pid)
}

/// Raises them round this process, for good, and looks whether they stand.
///
/// # Errors
/// With the wall's name: which could not be raised.
pub fn raise(walls: Walls) -> io::Result<()> {
    let root = Uid::effective().is_root();
    limits(walls, root).map_err(named("limits"))?;
    if root {
        empty_bounding_set().map_err(named("an empty bounding set of capabilities"))?;
        let id = own_id(std::process::id());
        own_identity(id).map_err(named(&format!("the user id {id} of its own")))?;
    }
    no_capabilities().map_err(named("no capabilities"))?;
    set_no_new_privs(true).map_err(io::Error::from).map_err(named("no new privileges"))
}

fn named(wall: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("{wall}: {e}"))
}

fn limits(walls: Walls, root: bool) -> io::Result<()> {
    let mut limits = vec![
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Sigpending, 64),
        (Resource::Data, walls.memory),
        (Resource::Cpu, PROCESSOR),
        // For what loads the program; the engine itself goes down to none.
        (Resource::Nofile, 16),
    ];
    // It counts all processes of a user, so it is a limit only for who is alone.
    if root {
        limits.push((Resource::Nproc, THREADS));
    }
    for (resource, most) in limits {
        // One that is lower already is left so.
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |m| m.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

fn empty_bounding_set() -> io::Result<()> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            // The kernel knows no more.
            Err(_) => break,
        }
    }
    Ok(())
}

fn own_identity(id: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    let (u, g) = (getresuid()?, getresgid()?);
    let alone = [u.real, u.effective, u.saved] == [uid; 3]
        && [g.real, g.effective, g.saved] == [gid; 3]
        && getgroups()?.is_empty();
    let (root, wheel) = (Uid::from_raw(0), Gid::from_raw(0));
    let regained = setresuid(root, root, root).is_ok() || setresgid(wheel, wheel, wheel).is_ok();
    if alone && !regained { Ok(()) } else { Err(io::Error::other("it did not hold")) }
}

fn no_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    clear_ambient_capability_set()?;
    set_capabilities(None, none)?;
    if capabilities(None)? == none { Ok(()) } else { Err(io::Error::other("they did not go")) }
}

/// Which of the walls do not stand round a process, as the kernel tells it. Empty: all do.
///
/// # Errors
/// What reading `/proc` gives.
pub fn missing(pid: u32) -> io::Result<Vec<&'static str>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(missing_in(&status, pid, Uid::effective().is_root()))
}

fn missing_in(status: &str, pid: u32, root: bool) -> Vec<&'static str> {
    let words = |field: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
        line.map(|l| l.split_ascii_whitespace().collect::<Vec<_>>())
    };
    let is = |field: &str, value: &str| words(field).is_some_and(|w| w == [value]);
    let none = |field: &str| words(field).is_some_and(|w| w.len() == 1 && w[0].bytes().all(|b| b == b'0'));
    let id = own_id(pid).to_string();
    let own = |field: &str| words(field).is_some_and(|w| w.len() == 4 && w.iter().all(|w| *w == id));
    let mut out = Vec::new();
    let mut wall = |stands: bool, name| {
        if !stands {
            out.push(name);
        }
    };
    wall(is("NoNewPrivs", "1"), "no new privileges");
    wall(is("Seccomp", "2"), "seccomp");
    wall(none("CapInh") && none("CapPrm") && none("CapEff") && none("CapAmb"), "no capabilities");
    if root {
        wall(none("CapBnd"), "an empty bounding set of capabilities");
        wall(own("Uid") && own("Gid"), "a user id of its own");
        wall(words("Groups").is_some_and(|w| w.is_empty()), "no groups");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
Name:\tstillpoint-engi\nUid:\t1900000007\t1900000007\t1900000007\t1900000007\n\
Gid:\t1900000007\t1900000007\t1900000007\t1900000007\nGroups:\t \nCapInh:\t0000000000000000\n\
CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\n\
NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";

    #[test]
    fn each_wall_that_is_missing_is_named() {
        assert!(missing_in(STATUS, 7, true).is_empty());
        for (is, other, name) in [
            ("Uid:\t1900000007", "Uid:\t0", "a user id of its own"),
            ("\t1900000007\nGroups", "\t0\nGroups", "a user id of its own"),
            ("Groups:\t ", "Groups:\t0 ", "no groups"),
            ("CapPrm:\t00", "CapPrm:\t01", "no capabilities"),
            ("CapBnd:\t00", "CapBnd:\t01", "an empty bounding set of capabilities"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "no new privileges"),
            ("Seccomp:\t2", "Seccomp:\t0", "seccomp"),
        ] {
            assert_ne!(STATUS, STATUS.replace(is, other));
            assert_eq!(missing_in(&STATUS.replace(is, other), 7, true), [name]);
        }
        assert_eq!(missing_in(STATUS, 8, true), ["a user id of its own"]);
        assert!(missing_in(STATUS, 8, false).is_empty());
        // What the kernel does not tell does not stand.
        assert_eq!(missing_in("", 7, true).len(), 6);
    }
}
