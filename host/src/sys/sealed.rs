//! A file in memory that only one user can read and nobody can change: how a credential reaches a client.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Gid, MemfdFlags, Mode, SealFlags, Uid, fchmod, fchown, fcntl_add_seals, memfd_create};

/// Makes one that `uid` owns. It is gone with its last descriptor.
///
/// # Errors
/// What the system gives.
pub fn sealed(content: &[u8], uid: u32, gid: u32) -> io::Result<OwnedFd> {
    let fd = memfd_create("stillpoint", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = content;
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest)?;
        rest = &rest[n..];
    }
    fchmod(&fd, Mode::RUSR)?;
    if rustix::process::geteuid().is_root() {
        fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    fcntl_add_seals(&fd, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(fd)
}
