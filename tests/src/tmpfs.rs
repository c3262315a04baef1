//! A small filesystem in memory, mounted on a folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::missing::missing;
use crate::program::run;

/// Such a filesystem. Dropped, it is unmounted.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one on this folder, with options such as `size=16k`. `None` where the machine can not.
    pub fn mount(test: &str, at: &Path, options: &str) -> Option<Tmpfs> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(at);
        if run(&mut mount, "").code != Some(0) {
            missing(test, "a small filesystem cannot be mounted (root is needed)");
            return None;
        }
        Some(Tmpfs(at.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.0), "");
    }
}
