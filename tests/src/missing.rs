//! A real server or tool that is not there.

use std::io::Write;
use std::path::PathBuf;

/// Says that `what` is not there, so `test` cannot run. Returns only where that was allowed; then the test is named in
/// the list of those that did not run, and the caller returns at once.
///
/// `STILLPOINT_ALLOW_MISSING=1` allows it, `STILLPOINT_SKIPPED` names the file of the list.
///
/// # Panics
/// Where it was not allowed: a test that did not run has not passed.
pub fn missing(test: &str, what: &str) {
    let allowed = std::env::var("STILLPOINT_ALLOW_MISSING").is_ok_and(|v| v == "1");
    assert!(allowed, "{test} cannot run: {what}. Install it, or allow that with  cargo xtask test --allow-missing");
    eprintln!("NOT RUN {test}: {what}");
    if let Ok(list) = std::env::var("STILLPOINT_SKIPPED") {
        let line = format!("{test}: {what}\n");
        // One write of one line: tests run at the same time.
        let _ = std::fs::File::options()
            .append(true)
            .create(true)
            .open(list)
            .and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

/// Whether this is root. False after [`missing`]; `why` says what needs root.
pub fn is_root(test: &str, why: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        missing(test, why);
    }
    root
}

/// Whether a client can be run as another user of the machine. False after [`missing`].
pub fn can_be_somebody_else(test: &str) -> bool {
    is_root(test, "only root can run a client as somebody else")
}

/// The first of these programs that is on the path, in the folders of system programs, or in Debian's of PostgreSQL 15.
/// `None` after [`missing`].
pub fn program(test: &str, names: &[&str], package: &str) -> Option<PathBuf> {
    let found = find(names);
    if found.is_none() {
        missing(test, &format!("there is no program {} (Debian's package {package})", names.join(" or ")));
    }
    found
}

/// Where Debian keeps the programs of PostgreSQL's server: in no path.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// The first of these programs that is there.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", POSTGRES].map(PathBuf::from))
        .collect();
    names.iter().flat_map(|n| folders.iter().map(move |f| f.join(n))).find(|p| p.is_file())
}
