//! Servers that are newer than Debian 12's, which `cargo xtask test --newer` keeps in a folder.

use std::path::{Path, PathBuf};

use crate::dist;
use crate::missing::missing;

/// Where Debian keeps programs, in the folders of MySQL and of all others.
const PROGRAMS: [&str; 5] =
    ["mysql/usr/sbin", "mysql/usr/bin", "others/usr/sbin", "others/usr/bin", "others/usr/lib/postgresql/18/bin"];

/// The folder: `STILLPOINT_NEWER`, else `newer` in this target folder of cargo.
pub fn folder_beside(target: &Path) -> PathBuf {
    std::env::var_os("STILLPOINT_NEWER").map_or_else(|| target.join("newer"), PathBuf::from)
}

fn folder() -> PathBuf {
    folder_beside(&dist::target())
}

/// This program of a newer server. It runs for every user and with any environment, and its folder serves as
/// `command_path`. `None` after [`missing`].
pub fn program(test: &str, name: &str) -> Option<PathBuf> {
    let found = PROGRAMS.iter().map(|under| folder().join(under).join(name)).find(|p| p.is_file());
    if found.is_none() {
        missing(
            test,
            &format!("there is no newer {name} in {}: cargo xtask test --newer fetches it", folder().display()),
        );
    }
    found
}

/// The line of `workload.conf` that says where this client is. Debian's are on the path, and need none.
pub fn command_path(client: &Path) -> String {
    let folder = client.parent().filter(|f| f.starts_with(self::folder()));
    folder.map(|f| format!("command_path = {}\n", f.display())).unwrap_or_default()
}
