//! A filesystem in a file, behind a loop device: one that a test may freeze.

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::crash::soon;
use crate::folder;
use crate::missing::{is_root, missing, program};
use crate::program::{run, succeed};
use crate::{PATIENCE, wait_until};

/// How long a write must have waited, without a pause, before it counts as stopped.
const STOPPED: Duration = Duration::from_millis(500);

/// The kinds that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one of most machines.
    Ext4,
    /// The other.
    Xfs,
    /// Has subvolumes: one filesystem under several device numbers.
    Btrfs,
}

impl Kind {
    fn maker(self) -> (&'static str, &'static str) {
        match self {
            Kind::Ext4 => ("mkfs.ext4", "e2fsprogs"),
            Kind::Xfs => ("mkfs.xfs", "xfsprogs"),
            Kind::Btrfs => ("mkfs.btrfs", "btrfs-progs"),
        }
    }
}

thread_local! {
    /// Where this test has mounted.
    static MOUNTED: RefCell<Vec<PathBuf>> = RefCell::default();
}

/// A folder on a filesystem that may be frozen. Dropped, it first thaws all that this test has mounted: taking a folder
/// away on a frozen one waits for ever, also in a test that failed.
pub struct Folder(TempDir);

impl Folder {
    /// Makes one.
    ///
    /// # Panics
    /// When that fails.
    pub fn under(parent: &Path) -> Folder {
        Folder(tempfile::tempdir_in(parent).unwrap())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        MOUNTED.with_borrow(|all| {
            for at in all {
                run(Command::new("fsfreeze").arg("--unfreeze").arg(at), "");
            }
        });
    }
}

/// A mounted filesystem. Dropped, it is thawed, unmounted, and its device detached.
pub struct LoopMount {
    folder: TempDir,
    device: Option<String>,
    /// Mounted beside it, the last one last.
    more: RefCell<Vec<PathBuf>>,
    /// Writes that may still wait.
    attempts: RefCell<Vec<Child>>,
}

impl LoopMount {
    /// Makes one. `None` where the machine can not.
    ///
    /// # Panics
    /// When it can, and it fails.
    pub fn make(test: &str, kind: Kind) -> Option<LoopMount> {
        LoopMount::make_under(test, kind, &std::env::temp_dir())
    }

    /// Makes one whose disk is a file below this folder. `None` where the machine can not.
    ///
    /// # Panics
    /// When it can, and it fails.
    pub fn make_under(test: &str, kind: Kind, parent: &Path) -> Option<LoopMount> {
        let (maker, package) = kind.maker();
        program(test, &[maker], package)?;
        program(test, &["fsfreeze"], "util-linux")?;
        if !is_root(test, "mounting needs root") {
            return None;
        }
        let folder = folder::below(parent, 0o755);
        let image = folder.path().join("image");
        // Sparse; large enough for the log of writers that never pause.
        std::fs::File::create(&image).and_then(|f| f.set_len(4 * 1024 * 1024 * 1024)).unwrap();
        succeed(Command::new(maker).arg("-q").arg(&image), "");
        let said = run(Command::new("losetup").args(["--find", "--show"]).arg(&image), "");
        if said.code != Some(0) {
            missing(test, &format!("there is no loop device: {}", said.stderr.trim()));
            return None;
        }
        let device = Some(said.stdout.trim().to_owned());
        let out = LoopMount { folder, device, more: RefCell::default(), attempts: RefCell::default() };
        std::fs::create_dir(out.path()).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-o", "noatime"]).arg(out.device.as_deref().unwrap_or_default()).arg(out.path());
        let said = run(&mut mount, "");
        if said.code == Some(0) {
            MOUNTED.with_borrow_mut(|all| all.push(out.path()));
            std::fs::set_permissions(out.path(), PermissionsExt::from_mode(0o755)).unwrap();
            return Some(out);
        }
        missing(test, &format!("{kind:?} on a loop device cannot be mounted: {}", said.stderr.trim()));
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Mounts something of it beside it, with these options of `mount`, from this source or its own device.
    ///
    /// # Panics
    /// When that fails.
    pub fn mount_beside(&self, name: &str, options: &[&str], source: Option<&Path>) -> PathBuf {
        let at = self.folder.path().join(name);
        std::fs::create_dir(&at).unwrap();
        let device = Path::new(self.device.as_deref().unwrap_or_default());
        succeed(Command::new("mount").args(options).arg(source.unwrap_or(device)).arg(&at), "");
        self.more.borrow_mut().push(at.clone());
        at
    }

    /// Freezes it, as somebody else than Stillpoint does. False when it is frozen already.
    pub fn freeze(&self) -> bool {
        run(Command::new("fsfreeze").arg("--freeze").arg(self.path()), "").code == Some(0)
    }

    /// Thaws it. False when it is not frozen.
    pub fn thaw(&self) -> bool {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(self.path()), "").code == Some(0)
    }

    /// Whether a write to it has to wait.
    ///
    /// # Panics
    /// When that cannot be told, or the write fails.
    pub fn is_frozen(&self) -> bool {
        let mut write = Command::new("touch");
        write.arg(self.path().join("a-write")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = write.spawn().unwrap();
        let (began, mut stopped) = (Instant::now(), None);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "the write failed: {status}");
                return false;
            }
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
            // Who waits for a frozen filesystem waits without a chance to be interrupted.
            let waits = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'));
            stopped = if waits { stopped.or(Some(Instant::now())) } else { None };
            if stopped.is_some_and(|since: Instant| since.elapsed() > STOPPED) {
                self.attempts.borrow_mut().push(child);
                return true;
            }
            assert!(began.elapsed() < PATIENCE, "a write neither ends nor waits");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether a write to it ends. It may take its time: a disk may be busy.
    ///
    /// # Panics
    /// When the write fails.
    pub fn takes_writes(&self) -> bool {
        let mut child = Command::new("touch").arg(self.path().join("a-write")).spawn().unwrap();
        let mut status = None;
        let ended = soon(PATIENCE, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.is_none_or(|s| s.success()), "the write failed: {status:?}");
        if !ended {
            self.attempts.borrow_mut().push(child);
        }
        ended
    }

    /// Waits until every write gets on that had to wait.
    pub fn gets_on(&self) {
        let mut attempts = self.attempts.borrow_mut();
        wait_until("a write gets on that had to wait", || {
            attempts.retain_mut(|child| child.try_wait().unwrap().is_none());
            attempts.is_empty()
        });
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        // First of all: nothing here, and nothing of the machine, may wait for it any longer.
        while self.thaw() {}
        for child in self.attempts.get_mut() {
            let _ = child.wait();
        }
        let mut mounted = std::mem::take(self.more.get_mut());
        mounted.insert(0, self.path());
        for at in mounted.iter().rev() {
            let umount = |option: &[&str]| run(Command::new("umount").args(option).arg(at), "").code == Some(0);
            let deadline = Instant::now() + Duration::from_secs(5);
            // What a test ended may need a moment to be gone. Lazily, where it failed and something still stands on it.
            while !umount(&[]) {
                if Instant::now() > deadline {
                    umount(&["--lazy"]);
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        if let Some(device) = self.device.take() {
            run(Command::new("losetup").arg("--detach").arg(device), "");
        }
    }
}
