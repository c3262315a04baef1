//! Which client program is run, and whether it may be.

use std::path::{Path, PathBuf};

use crate::config::Workload;
use crate::fault::{Exit, Fault};
use crate::sys::ownership;

/// Where a program is looked for when `command_path` is not given: the default path of a login.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Finds the first of `programs` and checks that only root or `linux_user` could have written it.
///
/// # Errors
/// `SP-CLIENT-001`: none is there. `SP-CLIENT-002`: somebody else could change it.
pub fn find(workload: &Workload, programs: &[String]) -> Result<PathBuf, Fault> {
    let folders: Vec<PathBuf> = match (&workload.command_path, &workload.instance) {
        (Some(folder), _) => vec![folder.clone()],
        (None, Some(instance)) => vec![instance.home.join("bin")],
        (None, None) => PATH.iter().map(PathBuf::from).collect(),
    };
    let found = programs.iter().flat_map(|p| folders.iter().map(move |f| f.join(p))).find(|p| is_program(p));
    let Some(found) = found else {
        let folders: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
        return Err(Fault::new(
            "SP-CLIENT-001",
            Exit::Usage,
            format!(
                "there is no program {} in {}.",
                programs.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(" or "),
                folders.join(", ")
            ),
        )
        .of(&workload.name)
        .done("Nothing was started.")
        .next("install the database's client, or name its folder with  command_path ="));
    };
    let owner = workload.instance.as_ref().map(|i| i.owner);
    check(&found, workload.linux_user.uid, owner).map_err(|problem| {
        Fault::new(
            "SP-CLIENT-002",
            Exit::Usage,
            format!("the client {} cannot be trusted: {problem}.", found.display()),
        )
        .of(&workload.name)
        .done("Nothing was started.")
        .next(match problem {
            ownership::Problem::Writable { path } => format!("chmod go-w {}", path.display()),
            _ => "let only root or linux_user write to it and to the folders above it".into(),
        })
    })?;
    Ok(found)
}

/// Whether only root, this user, or the owner of its instance's home could have written it. Who owns the database's own
/// program may give its client to others; but not to root.
///
/// # Errors
/// Who else could.
pub fn check(program: &Path, uid: u32, owner: Option<u32>) -> Result<(), ownership::Problem> {
    let owner = owner.filter(|_| uid != 0);
    ownership::check(program, &[uid].into_iter().chain(owner).collect::<Vec<_>>())
}

/// Whether there is a program that can be started.
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
