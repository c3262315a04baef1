//! Log backup: the logs that a database has closed, copied to where they outlive the machine. The module's signed manifest
//! says what to ask; none of its code runs.
//!
//! | id | what |
//! |---|---|
//! | `SP-LOG-001` | there is nothing to do: no `[logbackup]`, or no workload with logs |
//! | `SP-LOG-002` | the destination cannot be used |
//! | `SP-LOG-003` | the destination is not the one that logs were copied to: an absent mount |
//! | `SP-LOG-004` | the database does not say which logs it has |
//! | `SP-LOG-005` | a log cannot be copied |
//! | `SP-LOG-006` | logs were removed before they were copied |
//! | `SP-LOG-007` | the database does not close the log that it writes |
//! | `SP-LOG-008` | the database hands its logs on to elsewhere, or to nowhere |

pub mod copy;

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Serialize;
use stillpoint_contract::manifest::Logs;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::config::Role;
use crate::fault::{Exit, Fault};
use copy::{Copied, Folder, Refused, is_name};

/// Logs were removed before they were copied.
pub const MISSING: &str = "SP-LOG-006";

/// How long the database may take for each answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to hand a log on.
const MOMENT: Duration = Duration::from_secs(10);

/// What was done for one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its name.
    pub workload: String,
    /// The folder of its logs.
    pub folder: PathBuf,
    /// The logs that were copied now.
    pub copied: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
    /// How many were there already.
    pub there: usize,
    /// The newest that is there.
    pub newest: Option<String>,
    /// Whether the database hands its logs on by itself: nothing was copied here.
    pub handed_on: bool,
    /// What went wrong.
    pub faults: Vec<Fault>,
}

/// Where the logs of a workload's series are copied to.
pub fn folder(destination: &Path, workload: &str, series: &str) -> PathBuf {
    destination.join(workload).join(series)
}

/// Asks whose logs they are: a name for their folder.
///
/// # Errors
/// In words.
pub async fn series(broker: &mut Broker, logs: &Logs, deadline: Instant) -> Result<String, String> {
    let name = broker.ask_one(&logs.series, None, deadline).await.map_err(|e| e.to_string())?;
    name.text().filter(|n| is_name(n)).map(str::to_owned).ok_or_else(|| "its answer is no name for a folder".into())
}

/// Closes the log that is written, and copies all that are closed. `seen` is where the last folder of this workload is
/// remembered.
pub async fn back_up(broker: &mut Broker, logs: &Logs, destination: &Path, seen: &Path) -> Report {
    let mut report = Report { workload: broker.workload.name.clone(), ..Report::default() };
    if let Err(fault) = try_back_up(broker, logs, destination, seen, &mut report).await {
        report.faults.push(fault);
    }
    for fault in &mut report.faults {
        fault.workload.get_or_insert_with(|| report.workload.clone());
    }
    report
}

async fn try_back_up(
    broker: &mut Broker,
    logs: &Logs,
    destination: &Path,
    seen: &Path,
    report: &mut Report,
) -> Result<(), Fault> {
    let unknown = |why: String| {
        Fault::new("SP-LOG-004", Exit::Internal, format!("the database does not say which logs it has: {why}."))
            .done("None was copied.")
            .next("see whether it keeps logs at all, and what  stillpoint check  says of the login")
    };
    broker
        .connect(Instant::now() + PATIENCE)
        .await
        .map_err(|fault| Fault { exit: Exit::Internal, ..fault }.done("Nothing was copied."))?;
    let series = series(broker, logs, Instant::now() + PATIENCE).await.map_err(unknown)?;
    report.folder = folder(destination, &report.workload, &series);
    // A replica's logs are its primary's to close.
    let role = broker.role(Instant::now() + PATIENCE).await.map_err(|e| unknown(e.to_string()))?;
    let rotate = logs.rotate.as_ref().filter(|_| role != Some(Role::Replica));
    let Some(list) = &logs.list else {
        report.handed_on = true;
        return match rotate {
            Some(rotate) => handed_on(broker, rotate, report).await,
            None => Ok(()),
        };
    };
    let to = open(destination, &report.workload, &series, seen)?;
    let sums = to.sums().map_err(|e| unusable(to.path(), &e))?;
    if let Some(rotate) = rotate
        && let Err(e) = broker.ask(rotate, None, &[], Instant::now() + PATIENCE).await
    {
        report.faults.push(not_closed(&e.to_string()).done("Those that are closed are copied."));
    }
    let listed = broker.ask(list, None, &[], Instant::now() + PATIENCE).await;
    let listed = listed.map_err(|e| unknown(e.to_string()))?;
    let mut names: Vec<&str> = listed.iter().filter_map(|row| row.first()?.text()).collect();
    if logs.last_is_open {
        names.pop();
    }
    let folder = match &logs.folder {
        None => None,
        Some(folder) => {
            let path = broker.ask_one(folder, None, Instant::now() + PATIENCE).await;
            let path = path.map_err(|e| unknown(e.to_string()))?;
            Some(path.text().map(PathBuf::from).ok_or_else(|| unknown("it names no folder".into()))?)
        }
    };
    let paths: Vec<PathBuf> =
        names.iter().map(|name| folder.as_ref().map_or_else(|| name.into(), |f| f.join(name))).collect();
    let last = |path: &Path| path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
    let known = |name: &str| sums.contains_key(name) || sums.keys().any(|copied| follows(copied, name));
    if let Some(first) = paths.first().map(|p| last(p))
        && !sums.is_empty()
        && !paths.iter().any(|p| known(&last(p)))
    {
        let what = format!("between what was copied before and {first}, the database's oldest log, some are missing.");
        let fault = Fault::new(MISSING, Exit::Internal, what);
        report.faults.push(fault.done("What is there now is copied.").next(
            "take a snapshot: from one before it, logs lead no further than that. Have the database keep its logs longer",
        ));
    }
    let owner = server_user(broker).map_err(|why| unknown(format!("as whom it runs cannot be seen: {why}")))?;
    for path in paths {
        let name = last(&path);
        match open_log(&path, owner).and_then(|mut log| to.copy(&mut log, &name, &sums)) {
            Ok(copied) => {
                match copied {
                    Copied::Now(bytes) => {
                        report.bytes += bytes;
                        report.copied.push(name.clone());
                    }
                    Copied::Before => report.there += 1,
                }
                report.newest = Some(name);
            }
            Err(why) => {
                let what = format!("the log {} cannot be copied: {why}.", path.display());
                // What comes after it is of no use without it.
                let fault = Fault::new("SP-LOG-005", Exit::Internal, what);
                return Err(fault.done("Those before it are copied, and no other.").next(why.next(to.path())));
            }
        }
    }
    Ok(())
}

fn not_closed(why: &str) -> Fault {
    let what = format!("the log that is written could not be closed: {why}.");
    Fault::new("SP-LOG-007", Exit::Internal, what).next("see what  stillpoint check  says of the login")
}

/// Closes the log that is written, and waits until the database has handed it on: what came before it is there by then.
async fn handed_on(broker: &mut Broker, rotate: &str, report: &mut Report) -> Result<(), Fault> {
    let user = server_user(broker).ok().flatten().and_then(|uid| nix::unistd::User::from_uid(uid.into()).ok()?);
    let user = user.map_or_else(|| "USER".to_owned(), |user| user.name);
    let folder = report.folder.clone();
    let parent = folder.parent().unwrap_or(&folder).to_owned();
    // Not made here: it is the database's to write.
    let to = Folder::open(&folder).map_err(|e| {
        unusable(&folder, &e).next(format!(
            "install -d -m 711 {} && install -d -o {user} -m 700 {}",
            parent.display(),
            folder.display()
        ))
    })?;
    let closed = broker.ask_one(rotate, None, Instant::now() + PATIENCE).await;
    let closed = closed.map_err(|e| not_closed(&e.to_string()))?;
    let closed = closed.text().ok_or_else(|| not_closed("it does not say which that is"))?;
    let end = Instant::now() + MOMENT;
    loop {
        let sums = to.sums().map_err(|e| unusable(to.path(), &e))?;
        report.there = sums.len();
        if sums.contains_key(closed) {
            report.newest = Some(closed.to_owned());
            return Ok(());
        }
        if Instant::now() >= end {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let what = format!(
        "the log {closed}, closed now, was not handed on to {} within {} seconds.",
        folder.display(),
        MOMENT.as_secs()
    );
    Err(Fault::new("SP-LOG-008", Exit::Internal, what)
        .done("What is not there, no snapshot can be rolled forward by.")
        .next(format!(
            "archive_command = 'stillpoint log-backup --into {} %p'  in its configuration; its own log says why that fails",
            folder.display()
        )))
}

/// A log's name before the number at its end, and the number.
pub fn numbered(name: &str) -> (&str, u64) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name.get(stem.len()..).unwrap_or_default().parse().unwrap_or_default())
}

/// Whether a log was begun when this one was closed: its name is the same but for one number, and that is the next.
fn follows(before: &str, name: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    let same = before.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    // Where the number begins and ends that differs.
    let at = before.get(..same).map_or(0, |start| start.trim_end_matches(is_digit).len());
    let parts = |of: &str| {
        let rest = of.get(at..)?;
        let end = rest.trim_start_matches(is_digit);
        let number = rest.strip_suffix(end)?.parse::<u64>().ok()?;
        Some((number, end.to_owned()))
    };
    let (Some((n, end)), Some((next, same_end))) = (parts(before), parts(name)) else { return false };
    n.checked_add(1) == Some(next) && end == same_end
}

/// The folder of this series. Where the workload's own was there and is not any more, a mount is absent: nothing is copied
/// below it.
fn open(destination: &Path, workload: &str, series: &str, seen: &Path) -> Result<Folder, Fault> {
    let path = folder(destination, workload, series);
    let base = Folder::open(destination).map_err(|e| unusable(destination, &e))?;
    if std::fs::metadata(destination).is_ok_and(|m| m.mode() & 0o022 != 0) {
        let what = format!("others can write to {}: what lies there could be anybody's.", destination.display());
        return Err(Fault::new("SP-LOG-002", Exit::Internal, what)
            .done("Nothing was copied.")
            .next(format!("chmod go-w {}", destination.display())));
    }
    let before = match std::fs::read_to_string(seen) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|e| unusable(seen, &e))?,
    };
    let own = destination.join(workload);
    if Path::new(&before) == own && !own.is_dir() {
        let what = format!("{before} is not there, and logs were copied to it.");
        return Err(Fault::new("SP-LOG-003", Exit::Internal, what)
            .done("Nothing was copied.")
            .next(format!("mount the destination again, or remove {} to begin anew", seen.display())));
    }
    let inner = base.inner(workload).and_then(|f| f.inner(series)).map_err(|e| unusable(&path, &e))?;
    let remembered = seen.parent().map_or(Ok(()), std::fs::create_dir_all);
    remembered
        .and_then(|()| std::fs::write(seen, own.as_os_str().as_encoded_bytes()))
        .map_err(|e| unusable(seen, &e))?;
    Ok(inner)
}

fn unusable(path: &Path, why: &io::Error) -> Fault {
    Fault::new("SP-LOG-002", Exit::Internal, format!("{} cannot be used: {why}.", path.display()))
        .done("Nothing was copied.")
        .next("see whether it is mounted, and has a real path without links")
}

/// As whom the server runs, where that can be known from outside: the user behind its socket, or the owner of its program.
fn server_user(broker: &Broker) -> io::Result<Option<u32>> {
    if let Some(instance) = &broker.workload.instance {
        return Ok(Some(instance.owner));
    }
    let Some(socket) = broker.workload.credential.login.socket_file() else { return Ok(None) };
    let socket = crate::sys::socket::reach(&socket)?;
    let user = rustix::net::sockopt::socket_peercred(&socket)?.uid;
    Ok(Some(user.as_raw()))
}

/// Opens a log. The database said where it is, and might say anything: a link is not followed, and what is another user's
/// than the server's, where that is known, or root's, is no log of its.
pub fn open_log(path: &Path, owner: Option<u32>) -> Result<File, Refused> {
    use std::os::fd::AsRawFd;
    let refused = |e: io::Error| Refused::Source(e.to_string());
    // Only looked at: opening a device can already do something.
    let flags = (OFlags::NOFOLLOW | OFlags::PATH).bits().cast_signed();
    let place = File::options().read(true).custom_flags(flags).open(path).map_err(refused)?;
    let meta = place.metadata().map_err(refused)?;
    let on = rustix::fs::fstatfs(&place).map_err(|e| refused(e.into()))?;
    if !meta.is_file() || on.f_type == rustix::fs::PROC_SUPER_MAGIC {
        return Err(Refused::Source("it is no file".into()));
    }
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    let file = File::options().read(true).open(again).map_err(refused)?;
    if meta.uid() == 0 && rustix::process::geteuid().is_root() {
        return Err(Refused::Source("it belongs to root, and so to no database".into()));
    }
    if let Some(owner) = owner
        && meta.uid() != owner
    {
        let why = format!("it belongs to user {} and the database runs as user {owner}", meta.uid());
        return Err(Refused::Source(why));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::{follows, open_log};
    use nix::sys::stat::Mode;
    use std::path::Path;

    #[test]
    fn what_is_no_log_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("log"), "").unwrap();
        std::os::unix::fs::symlink(path("log"), path("link")).unwrap();
        nix::unistd::mkfifo(&path("pipe"), Mode::S_IRWXU).unwrap();
        let refused = |path: &Path, owner| open_log(path, owner).err().map(|e| e.to_string()).unwrap_or_default();
        for odd in
            [&path("link"), &path("pipe"), folder.path(), Path::new("/dev/null"), Path::new("/proc/self/environ")]
        {
            assert_eq!(refused(odd, None), "it is no file", "{}", odd.display());
        }
        let own = nix::unistd::geteuid();
        if own.is_root() {
            assert!(refused(&path("log"), None).contains("belongs to root"));
            nix::unistd::chown(&path("log"), Some(65534.into()), None).unwrap();
        }
        let owner = if own.is_root() { 65534 } else { own.as_raw() };
        assert!(refused(&path("log"), Some(owner + 1)).contains("it belongs to user"));
        assert!(open_log(&path("log"), Some(owner)).is_ok() && open_log(&path("log"), None).is_ok());
    }

    #[test]
    fn a_log_follows_the_one_of_the_number_before_it() {
        for (before, name, so) in [
            ("binlog.000009", "binlog.000010", true),
            ("binlog.999999", "binlog.1000000", true),
            ("binlog.000009", "binlog.000011", false),
            ("binlog.000009", "other.000010", false),
            ("1_9_7.arc", "1_10_7.arc", true),
            ("1_9_7.arc", "1_11_7.arc", false),
            ("1_9_7.arc", "1_10_8.arc", false),
            ("1_9_7.arc", "1_10_7.arc.1", false),
            ("18446744073709551615", "99999999999999999999", false),
            ("log", "log", false),
            ("log.1", "log.1", false),
        ] {
            assert_eq!(follows(before, name), so, "{before} {name}");
        }
    }
}
