//! Everything that must hold, on real servers.

use anyhow::Result;
use stillpoint_tests::missing::find;

use crate::{cargo, crash, debian, newer, package, succeed, target};

/// A program that a test needs, and Debian's package of it.
const NEEDED: [(&str, &str); 15] = [
    ("mariadbd", "mariadb-server"),
    ("mariadb", "mariadb-client"),
    ("postgres", "postgresql-15"),
    ("psql", "postgresql-client-15"),
    ("firebird", "firebird3.0-server"),
    ("isql-fb", "firebird3.0-utils"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("sqlite3", "sqlite3"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("fsfreeze", "util-linux"),
    ("losetup", "mount"),
    ("ssh-keygen", "openssh-client"),
];

/// Installs what is missing.
pub fn install() -> Result<()> {
    let mut packages: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| find(&[program]).is_none()).map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() || !debian::can_install() { Ok(()) } else { debian::install(&packages) }
}

/// Runs all tests; or only those that want newer servers, which stand in modules of this name.
pub fn run(allow_missing: bool, newer: bool, rest: &[String]) -> Result<()> {
    if let Err(e) = install() {
        // The tests themselves say what is missing.
        eprintln!("! {e:#}");
    }
    if newer {
        newer::fetch(&stillpoint_tests::newer::folder_beside(&target()?))?;
    }
    crash::build()?;
    let dist = package::run(None)?;
    let skipped = target()?.join("stillpoint/skipped");
    let _ = std::fs::remove_file(&skipped);
    let mut command = cargo();
    // The hostile guests are packaged as modules; nobody needs them as native libraries.
    command.args(["test", "--locked", "--workspace", "--exclude", "stillpoint-guests"]).args(rest);
    command.env("STILLPOINT_DIST", dist).env("STILLPOINT_SKIPPED", &skipped);
    if newer {
        command.args(["--tests", "--", "--ignored", "newer::"]);
    }
    if allow_missing {
        command.env("STILLPOINT_ALLOW_MISSING", "1");
    } else {
        command.env_remove("STILLPOINT_ALLOW_MISSING");
    }
    let passed = succeed(&mut command);
    if let Ok(list) = std::fs::read_to_string(&skipped) {
        println!("\nNOT RUN, because something is missing here:");
        list.lines().for_each(|line| println!("  {line}"));
    }
    passed?;
    Ok(())
}
