//! Newer servers than Debian 12 has, in folders of their own beside what cargo builds: from Debian's unstable suite, at the
//! mirror that this machine's apt uses. Nothing of them is installed, and none of their maintainers' scripts runs.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use stillpoint_tests::missing::find;

use crate::{debian, succeed};

/// Folders, because MySQL's and MariaDB's programs have the same names; and the packages whose programs are wanted in each.
const FOLDERS: [(&str, &[&str]); 2] = [
    ("mysql", &["mysql-server-core", "mysql-client-core"]),
    (
        "others",
        &[
            "mariadb-server-core",
            "mariadb-client-core",
            "mariadb-client",
            "postgresql-18",
            "postgresql-client-18",
            "valkey-server",
            "valkey-tools",
        ],
    ),
];

/// Where Debian keeps programs.
const PROGRAMS: [&str; 3] = ["usr/bin", "usr/sbin", "usr/lib/postgresql/18/bin"];

/// Fetches what is not there yet. What was fetched once is kept; remove the folder to have it anew.
pub fn fetch(into: &Path) -> Result<()> {
    for (name, packages) in FOLDERS {
        let folder = into.join(name);
        if folder.is_dir() {
            continue;
        }
        if !nix::unistd::geteuid().is_root() {
            bail!("{} is not there, and debootstrap, which would fetch it, needs root", folder.display());
        }
        if find(&["debootstrap"]).is_none() {
            debian::install(&["debootstrap"])?;
        }
        eprintln!("Fetching {} into {} …", packages.join(", "), folder.display());
        // The name says that it is complete.
        let new = into.join(format!("{name}.new"));
        let _ = fs::remove_dir_all(&new);
        fs::create_dir_all(&new)?;
        let mut command = Command::new("debootstrap");
        // --foreign: unpack, run nothing.
        command.args(["--foreign", "--variant=minbase"]).arg(format!("--include={}", packages.join(",")));
        succeed(command.args(["sid"]).arg(&new).arg(mirror()?).stdout(Stdio::null()).stdin(Stdio::null()))?;
        unpack(&new)?;
        let loader = loader(&new)?;
        for programs in PROGRAMS {
            start_by(&new, &loader, programs, &folder)?;
        }
        fs::rename(&new, &folder)?;
    }
    Ok(())
}

/// The mirror from which this machine installs Debian.
fn mirror() -> Result<String> {
    let said = Command::new("apt-get")
        .args(["indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"])
        .output()
        .context("apt-get could not be started")?;
    let said = String::from_utf8_lossy(&said.stdout);
    let mirror = said.lines().find_map(|line| line.strip_prefix("Debian "));
    mirror.map(str::to_owned).context("apt knows no mirror of Debian: run  apt-get update")
}

/// Unpacks what debootstrap has only fetched.
fn unpack(folder: &Path) -> Result<()> {
    let archives = folder.join("var/cache/apt/archives");
    for entry in fs::read_dir(&archives)? {
        let package = entry?.path();
        if package.extension().is_some_and(|e| e == "deb") {
            succeed(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(folder))?;
            fs::remove_file(package)?;
        }
    }
    Ok(())
}

/// The loader of programs, below the folder.
fn loader(folder: &Path) -> Result<PathBuf> {
    for under in ["usr/lib64", "usr/lib"] {
        for entry in fs::read_dir(folder.join(under)).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("ld-linux") {
                return Ok(Path::new(under).join(entry.file_name()));
            }
        }
    }
    bail!("there is no loader in {}", folder.display())
}

/// Puts in place of each program a script that starts it by the loader, and with the libraries, of its own folder: so that
/// it runs outside of it, for every user, with any environment, and finds what lies beside it. The loader is called by the
/// program's name, for that is what the kernel calls the process.
fn start_by(new: &Path, loader: &Path, programs: &str, folder: &Path) -> Result<()> {
    let (programs, final_programs) = (new.join(programs), folder.join(programs));
    let loaders = new.join("loaders");
    fs::create_dir_all(&loaders)?;
    let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    for entry in fs::read_dir(&programs).into_iter().flatten() {
        let program = entry?.path();
        let Some(name) = program.file_name().and_then(|n| n.to_str()).map(str::to_owned) else { continue };
        let _ = std::os::unix::fs::symlink(folder.join(loader), loaders.join(&name));
        let mut magic = [0; 4];
        let file = fs::symlink_metadata(&program)?.is_file();
        if !file || fs::File::open(&program)?.read_exact(&mut magic).is_err() || magic != *b"\x7fELF" {
            continue;
        }
        let real = format!("{name}.real");
        fs::rename(&program, programs.join(&real))?;
        let script = format!(
            "#!/bin/sh\nexec '{}'/\"${{0##*/}}\" --library-path '{}' --argv0 \"$0\" '{}' \"$@\"\n",
            folder.join("loaders").display(),
            folder.join(&libraries).display(),
            final_programs.join(&real).display(),
        );
        fs::write(&program, script)?;
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}
