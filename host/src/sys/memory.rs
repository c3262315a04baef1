//! Keeping what a process needs in memory: while a filesystem is frozen, nothing of ours must wait for a page.

use rustix::mm::{MlockAllFlags, mlockall};

/// Locks every page of this process, from its first use on. False where the system does not allow that.
///
/// What was used once is not read again from a disk; what was never used is not held for nothing.
pub fn lock_what_is_used() -> bool {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).is_ok()
}
