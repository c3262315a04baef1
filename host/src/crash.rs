//! Crash points: in a test build a process stops, dies or fails at any step that is named here. The shipped build holds
//! none of it: without the feature `crash-points` a step is nothing.
//!
//! A test writes `STEP ACT` into the file `crash` of the folder for sockets. The process that comes to this step first
//! takes the file, makes `crash.reached` with its own number in it, and then
//!
//! - `stop`: waits until `crash.reached` is removed, with everything that it holds;
//! - `kill`: kills itself;
//! - `fail`: has the step fail, where a step can.

macro_rules! steps {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// A step at which something can be broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Step {
            $($(#[doc = $doc])* $name,)*
        }

        #[cfg(feature = "crash-points")]
        impl Step {
            /// Every step.
            pub const ALL: &[Step] = &[$(Step::$name,)*];

            /// Its name in the file.
            pub fn name(self) -> &'static str {
                match self {
                    $(Step::$name => $text,)*
                }
            }
        }
    };
}

steps! {
    /// The keeper holds the lock; nothing was begun.
    Locked = "keeper.locked",
    /// The first line of the ledger is on disk.
    LedgerBegun = "keeper.ledger-begun",
    /// Every workload was checked.
    Checked = "keeper.checked",
    /// The guard runs and has what it needs.
    Guarded = "keeper.guarded",
    /// Every workload is prepared.
    Prepared = "keeper.prepared",
    /// An undo is about to be written. Can fail.
    Arming = "keeper.arming",
    /// The undo is written, and the guard does not know it yet.
    Written = "keeper.written",
    /// The undo is armed; the freezing statement is not sent.
    Armed = "keeper.armed",
    /// The freezing statement was answered.
    Froze = "keeper.froze",
    /// What was frozen was proved. Can fail.
    Proved = "keeper.proved",
    /// The recovery point is in its folder.
    Pointed = "keeper.pointed",
    /// All databases stand still.
    AllFrozen = "keeper.all-frozen",
    /// A filesystem is about to be frozen. Can fail.
    FilesystemArmed = "keeper.filesystem-armed",
    /// It is frozen.
    FilesystemFrozen = "keeper.filesystem-frozen",
    /// Everything stands still; the agent does not know it.
    Frozen = "keeper.frozen",
    /// The agent was told.
    Told = "keeper.told",
    /// The keeper was asked to thaw.
    Released = "keeper.released",
    /// A filesystem was thawed, and the ledger does not know it.
    FilesystemThawed = "keeper.filesystem-thawed",
    /// It was proved that everything was held.
    HeldProved = "keeper.held-proved",
    /// An undo of the host's own is about to be sent. Can fail.
    Undoing = "keeper.undoing",
    /// It was answered.
    Undone = "keeper.undone",
    /// Everything runs again.
    Thawed = "keeper.thawed",
    /// The clients are ended; the ledger is not closed.
    Closing = "keeper.closing",
    /// The ledger is closed.
    Closed = "keeper.closed",
    /// The record is written. Can fail.
    Recorded = "keeper.recorded",
    /// The agent is about to be told the verdict.
    Verdict = "keeper.verdict",
    /// The guard is armed with a deadline.
    GuardArmed = "guard.armed",
    /// The guard takes over.
    GuardFires = "guard.fires",
    /// It has thawed the filesystems.
    GuardThawedFilesystems = "guard.thawed-filesystems",
    /// It is about to take back an entry.
    GuardUndoing = "guard.undoing",
    /// It has taken it back; the ledger does not know it.
    GuardUndone = "guard.undone",
    /// It has taken everything back; the ledger is written.
    GuardClosed = "guard.closed",
    /// Recovery has read the ledger.
    RecoveryRead = "recovery.read",
    /// Recovery is about to take back an entry. Can fail.
    RecoveryUndoing = "recovery.undoing",
    /// It has taken it back; the ledger does not know it.
    RecoveryUndone = "recovery.undone",
}

#[cfg(feature = "crash-points")]
static FOLDER: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();

/// Steps are told by files in this folder.
#[cfg(feature = "crash-points")]
pub fn under(folder: &std::path::Path) {
    let _ = FOLDER.set(folder.to_owned());
}

/// A step that cannot fail by itself.
#[cfg(feature = "crash-points")]
pub fn step(step: Step) {
    let _ = may_fail(step);
}

/// A step that can fail.
///
/// # Errors
/// When the test asked for that.
#[cfg(feature = "crash-points")]
pub fn may_fail(step: Step) -> std::io::Result<()> {
    let Some(folder) = FOLDER.get() else { return Ok(()) };
    let (asked, reached) = (folder.join("crash"), folder.join("crash.reached"));
    let Ok(text) = std::fs::read_to_string(&asked) else { return Ok(()) };
    let Some((name, act)) = text.trim().split_once(' ') else { return Ok(()) };
    // Only one process takes it.
    if name != step.name() || std::fs::remove_file(&asked).is_err() {
        return Ok(());
    }
    let new = folder.join("crash.new");
    std::fs::write(&new, std::process::id().to_string())?;
    std::fs::rename(new, &reached)?;
    match act {
        "stop" => {
            while reached.exists() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            Ok(())
        }
        "kill" => {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
            Ok(())
        }
        _ => Err(std::io::Error::other("a test had this step fail")),
    }
}

/// Nothing, in the shipped build.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn under(_: &std::path::Path) {}

/// Nothing, in the shipped build.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn step(_: Step) {}

/// Nothing, in the shipped build.
///
/// # Errors
/// None.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn may_fail(_: Step) -> std::io::Result<()> {
    Ok(())
}
