//! Debian's packages: installed where we may, without starting a service.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::succeed;

/// Asked by Debian's packages before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Whether packages can be installed here.
pub fn can_install() -> bool {
    nix::unistd::geteuid().is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// Installs packages. No service is started by that, as long as nobody else decides about it.
pub fn install(packages: &[&str]) -> Result<()> {
    if !can_install() {
        bail!("install these packages: {}", packages.join(" "));
    }
    eprintln!("Installing {} …", packages.join(", "));
    let _policy = Policy::deny()?;
    // The list of packages may be old, or empty on a fresh machine.
    if apt(&["install", "--yes", "--no-install-recommends"], packages).is_err() {
        apt(&["update"], &[])?;
        apt(&["install", "--yes", "--no-install-recommends"], packages)?;
    }
    Ok(())
}

fn apt(arguments: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.arg("-qq").args(["-o", "DPkg::Lock::Timeout=300"]).args(arguments).args(packages);
    succeed(command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null()))
}

struct Policy {
    ours: bool,
}

impl Policy {
    fn deny() -> Result<Policy> {
        use std::io::Write;
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        match made {
            Ok(mut file) => {
                file.write_all(b"#!/bin/sh\nexit 101\n")?;
                Ok(Policy { ours: true })
            }
            // Somebody has decided already whether services are started.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(Policy { ours: false }),
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
