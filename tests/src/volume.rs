//! A volume that can be snapshotted: btrfs in a file, behind a loop device.
//!
//! Two kinds of copy are taken of it:
//!
//! - a **snapshot** of its subvolume: what an agent does that knows the filesystem. btrfs writes everything out first, so
//!   this copy holds what was only in the page cache too;
//! - a **block image**: what an agent of a cloud does, below the filesystem. Only what the filesystem has handed to its
//!   block device is in it. The loop driver writes through the page cache of the backing file, which every reader of
//!   that file shares; so reading the backing file gives exactly what the device holds, and nothing of what the
//!   filesystem on it still keeps to itself.
//!
//! The image is read from front to back while the filesystem is mounted. That gives one instant, because btrfs never
//! writes over a block before the superblock has been written that no longer needs it, and the superblock comes first. The
//! filesystem's own regular commit is put off (`commit=300`), so nothing is written out that nobody asked for; but the sync
//! of a file may be a commit, and what was read while one came is thrown away. (With commits all the time MySQL
//! did not start on six images of nine: blocks that the older superblock needs were used anew.)

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::folder;
use crate::missing::{is_root, missing, program};
use crate::program::{run, succeed};

/// How large a volume is; its file is sparse. Until it commits, btrfs uses no block twice, and with `commit=300` writers
/// that sync all the time fill a small one.
const SIZE: u64 = 16 * 1024 * 1024 * 1024;

/// A mounted volume. It is unmounted when it is dropped: drop the servers on it first.
pub struct Volume {
    folder: TempDir,
    device: Option<String>,
}

/// The bytes of a volume's device at one instant.
pub struct BlockImage {
    folder: TempDir,
}

impl Volume {
    /// Makes one with an empty subvolume. `None` where the machine can not.
    ///
    /// # Panics
    /// When it can, and it fails.
    pub fn make(test: &str) -> Option<Volume> {
        program(test, &["mkfs.btrfs"], "btrfs-progs")?;
        program(test, &["btrfs"], "btrfs-progs")?;
        if !is_root(test, "mounting needs root") {
            return None;
        }
        let folder = new_folder();
        std::fs::File::create(image(&folder)).and_then(|f| f.set_len(SIZE)).unwrap();
        // One copy of the metadata: the second one only costs time.
        succeed(Command::new("mkfs.btrfs").args(["-q", "-m", "single"]).arg(image(&folder)), "");
        match Volume::mount(folder) {
            Ok(volume) => {
                succeed(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(volume.data()), "");
                Some(volume)
            }
            Err(why) => {
                missing(test, &format!("btrfs on a loop device cannot be mounted: {}", why.trim()));
                None
            }
        }
    }

    fn mount(folder: TempDir) -> Result<Volume, String> {
        let said = run(Command::new("losetup").args(["--find", "--show"]).arg(image(&folder)), "");
        if said.code != Some(0) {
            return Err(said.stderr);
        }
        let volume = Volume { folder, device: Some(said.stdout.trim().to_owned()) };
        let device = volume.device.as_deref().unwrap_or_default();
        let mut mount = Command::new("mount");
        mount.args(["-t", "btrfs", "-o", "commit=300,noatime", device]).arg(volume.top());
        let said = run(&mut mount, "");
        if said.code == Some(0) { Ok(volume) } else { Err(said.stderr) }
    }

    fn top(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    /// The subvolume: databases and `ipc_folder` lie here.
    pub fn data(&self) -> PathBuf {
        self.top().join("data")
    }

    /// Snapshots the subvolume. A server can run on it.
    pub fn snapshot(&self, name: &str) -> PathBuf {
        let at = self.top().join(name);
        succeed(Command::new("btrfs").args(["-q", "subvolume", "snapshot"]).arg(self.data()).arg(&at), "");
        at
    }

    /// Shows a snapshot below this folder, as another machine sees it that has mounted the disks of this one there.
    ///
    /// # Panics
    /// When something is there already.
    pub fn show_below(&self, root: &Path, snapshot: &Path) -> Shown {
        let below = root.join(self.data().strip_prefix("/").unwrap());
        std::fs::create_dir_all(&below).unwrap();
        succeed(Command::new("mount").arg("--bind").arg(snapshot).arg(&below), "");
        Shown { root: root.to_str().unwrap().to_owned(), below }
    }

    /// Both kinds of copy. The image first: a snapshot writes everything out.
    pub fn image_and_snapshot(&self) -> (BlockImage, PathBuf) {
        let image = self.block_image();
        (image, self.snapshot("copy"))
    }

    /// Copies what the block device holds. Take it before a snapshot: that writes everything out.
    ///
    /// # Panics
    /// When the filesystem commits again and again.
    pub fn block_image(&self) -> BlockImage {
        for _ in 0..20 {
            let folder = new_folder();
            let before = self.generation();
            let mut copy = Command::new("cp");
            copy.args(["--sparse=auto", "--reflink=auto"]).arg(image(&self.folder)).arg(image(&folder));
            succeed(&mut copy, "");
            if self.generation() == before {
                return BlockImage { folder };
            }
            eprintln!("a commit came while the image was read: it is read again");
        }
        panic!("a commit came each time that the image was read");
    }

    /// Of the superblock that the device holds: each commit has the next.
    /// <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>
    fn generation(&self) -> u64 {
        let mut generation = [0; 8];
        let device = std::fs::File::open(image(&self.folder)).unwrap();
        device.read_exact_at(&mut generation, 0x1_0000 + 0x48).unwrap();
        u64::from_le_bytes(generation)
    }

    /// Loses this volume, and mounts the image instead, as a machine does that starts from it. (The same filesystem can
    /// not be mounted twice.)
    ///
    /// # Panics
    /// When the filesystem in it is not whole.
    pub fn replaced_by(self, image: BlockImage) -> Volume {
        drop(self);
        Volume::mount(image.folder).unwrap_or_else(|why| panic!("the block image cannot be mounted: {why}"))
    }
}

/// A snapshot below a folder, whose path this is, until it is dropped.
pub struct Shown {
    root: String,
    below: PathBuf,
}

impl std::ops::Deref for Shown {
    type Target = str;

    fn deref(&self) -> &str {
        &self.root
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.below), "");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let umount = |option: &[&str]| run(Command::new("umount").args(option).arg(self.top()), "").code == Some(0);
        // Lazily, where a test failed and something still stands on it.
        if !umount(&[]) {
            umount(&["--lazy"]);
        }
        if let Some(device) = self.device.take() {
            run(Command::new("losetup").arg("--detach").arg(device), "");
        }
    }
}

fn new_folder() -> TempDir {
    let folder = folder::with_mode(0o755);
    std::fs::create_dir(folder.path().join("volume")).unwrap();
    folder
}

fn image(folder: &TempDir) -> PathBuf {
    Path::join(folder.path(), "image")
}
