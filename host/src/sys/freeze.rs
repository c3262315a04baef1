//! Freezing a filesystem, and which filesystem a path lies on.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::ioctl::{self, IntegerSetter, Opcode, opcode};
use serde::{Deserialize, Serialize};

/// `linux/fs.h`: `_IOWR('X', 119, int)` and `_IOWR('X', 120, int)`. The argument is not read.
const FIFREEZE: Opcode = opcode::read_write::<i32>(b'X', 119);
const FITHAW: Opcode = opcode::read_write::<i32>(b'X', 120);

/// How freezing or thawing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It is now as asked for.
    Changed,
    /// It was so already: somebody else froze it, or thawed it.
    Already,
}

/// Freezes the filesystem: everything is written out, and who writes waits.
///
/// # Errors
/// What the system gives: no permission, or a filesystem that cannot be frozen.
pub fn freeze(filesystem: &File) -> io::Result<Done> {
    act::<FIFREEZE>(filesystem, Errno::BUSY)
}

/// Thaws the filesystem.
///
/// # Errors
/// What the system gives.
pub fn thaw(filesystem: &File) -> io::Result<Done> {
    act::<FITHAW>(filesystem, Errno::INVAL)
}

#[allow(unsafe_code)]
fn act<const OPCODE: Opcode>(filesystem: &File, already: Errno) -> io::Result<Done> {
    // SAFETY: both requests take an integer that the kernel ignores, and touch no memory of ours.
    match unsafe { ioctl::ioctl(filesystem.as_fd(), IntegerSetter::<OPCODE>::new_usize(0)) } {
        Ok(()) => Ok(Done::Changed),
        Err(e) if e == already => Ok(Done::Already),
        Err(e) => Err(e.into()),
    }
}

/// Opens what stands for the filesystem: a folder, and no link.
///
/// # Errors
/// What the system gives.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

/// A mounted filesystem: the device that the kernel's list of mounts names, the same for each of its subvolumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblock {
    /// `major:minor`.
    pub device: String,
    /// Such as `ext4`.
    pub kind: String,
}

/// The filesystem that an open file lies on.
///
/// # Errors
/// What the system gives; `NotFound` when it is in no mount that this process can see.
pub fn superblock(file: &File) -> io::Result<Superblock> {
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    let mount = found.stx_mnt_id.to_string();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(&mount));
    let superblock = line.and_then(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let device = mount.split(' ').nth(2)?.to_owned();
        Some(Superblock { device, kind: filesystem.split(' ').next()?.to_owned() })
    });
    superblock.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is in no mount that is known here"))
}
