//! The command that tests break: built with the feature `crash-points`, and kept apart from the one that is shipped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{cargo, succeed, target};

/// Builds `<target>/stillpoint/crash/{stillpoint,stillpoint-engine}`. What lies in `<target>/debug` afterwards is the
/// shipped command again. Both share everything that they are built from.
pub fn build() -> Result<PathBuf> {
    let target = target()?;
    let to = target.join("stillpoint/crash");
    fs::create_dir_all(&to)?;
    // The same lock as for packaging: only one of them changes what lies in `debug`.
    let lock = File::create(target.join("stillpoint/lock"))?;
    lock.lock()?;
    let programs = ["build", "--locked", "--package", "stillpoint", "--package", "stillpoint-engine"];
    let built = succeed(cargo().args(programs).args(["--features", "stillpoint/crash-points"]));
    let kept = built.and_then(|()| {
        keep(&target.join("debug/stillpoint"), &to)?;
        keep(&target.join("debug/stillpoint-engine"), &to)
    });
    succeed(cargo().args(programs)).context("the programs could not be built")?;
    kept.context("the command with crash points could not be built")?;
    Ok(to)
}

/// A copy, not a link: the linker writes into the file that is there.
fn keep(program: &Path, folder: &Path) -> Result<()> {
    let name = program.file_name().context("a program has a name")?;
    let (kept, new) = (folder.join(name), folder.join("new"));
    if same(program, &kept).unwrap_or(false) {
        return Ok(());
    }
    fs::copy(program, &new)?;
    fs::File::open(&new)?.set_modified(fs::metadata(program)?.modified()?)?;
    Ok(fs::rename(new, kept)?)
}

fn same(one: &Path, other: &Path) -> std::io::Result<bool> {
    let (one, other) = (fs::metadata(one)?, fs::metadata(other)?);
    Ok((one.len(), one.modified()?) == (other.len(), other.modified()?))
}
