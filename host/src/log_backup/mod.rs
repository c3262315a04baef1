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

pub mod copy;

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Serialize;
use stillpoint_contract::manifest::Logs;
use stillpoint_contract::message::{Rows, StatementError, Value};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::config::Role;
use crate::fault::{Exit, Fault};
use copy::{Copied, Folder, is_plain};

/// How long the database may take for each answer.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let rows = broker.ask(&logs.series, None, &[], deadline).await.map_err(|e| e.to_string())?;
    text(&rows).filter(|name| is_plain(name)).ok_or_else(|| "its answer is no name for a folder".into())
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
    broker.connect(Instant::now() + PATIENCE).await?;
    let series = series(broker, logs, Instant::now() + PATIENCE).await.map_err(unknown)?;
    report.folder = folder(destination, &report.workload, &series);
    let to = open(destination, &report.workload, &series, seen)?;
    let sums = to.sums().map_err(|e| unusable(to.path(), &e))?;
    report.newest = sums.keys().next_back().cloned();
    if let Some(rotate) = &logs.rotate
        && broker.role(Instant::now() + PATIENCE).await != Ok(Some(Role::Replica))
        && let Err(e) = broker.ask(rotate, None, &[], Instant::now() + PATIENCE).await
    {
        let what = format!("the log that is written could not be closed: {e}.");
        let fault = Fault::new("SP-LOG-007", Exit::Internal, what).done("Those that are closed are copied.");
        report.faults.push(fault.next("see what  stillpoint check  says of the login"));
    }
    let Some(list) = &logs.list else {
        report.handed_on = true;
        report.there = sums.len();
        return Ok(());
    };
    let listed = broker.ask(list, None, &[], Instant::now() + PATIENCE).await;
    let mut names: Vec<String> =
        listed.map_err(|e| unknown(e.to_string()))?.iter().filter_map(|row| cell(row.first())).collect();
    let any = !names.is_empty();
    if logs.last_is_open {
        names.pop();
    }
    let folder = match &logs.folder {
        None => None,
        Some(folder) => {
            let rows = broker.ask(folder, None, &[], Instant::now() + PATIENCE).await;
            let rows = rows.map_err(|e: StatementError| unknown(e.to_string()))?;
            Some(text(&rows).map(PathBuf::from).ok_or_else(|| unknown("it names no folder".into()))?)
        }
    };
    let paths: Vec<PathBuf> =
        names.iter().map(|name| folder.as_ref().map_or_else(|| name.into(), |f| f.join(name))).collect();
    let last = |path: &Path| path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
    if let Some(newest) = &report.newest
        && any
        && !paths.iter().any(|p| last(p) == *newest)
    {
        let what = format!("{newest}, the last that was copied, is no longer among the database's logs.");
        let fault = Fault::new("SP-LOG-006", Exit::Internal, what);
        report.faults.push(fault.done("What is there now is copied.").next(
            "take a snapshot: from one before it, logs lead no further than that. Have the database keep its logs longer",
        ));
    }
    for path in paths {
        let name = last(&path);
        let copied = open_log(&path).and_then(|mut source| to.copy(&mut source, &name, &sums));
        match copied {
            Ok(Copied::Now(bytes)) => {
                report.bytes += bytes;
                report.newest = Some(name.clone());
                report.copied.push(name);
            }
            Ok(Copied::Before) => report.there += 1,
            Err(why) => {
                let what = format!("the log {} cannot be copied: {why}.", path.display());
                // What comes after it is of no use without it.
                let fault = Fault::new("SP-LOG-005", Exit::Internal, what);
                return Err(fault.done("Those before it are copied, and no other.").next(next(&why, to.path())));
            }
        }
    }
    Ok(())
}

fn next(why: &str, folder: &Path) -> String {
    if why.contains("another history") {
        format!("move {} aside: the logs in it belong to the snapshots before", folder.display())
    } else {
        "see whether the destination is full, and run  stillpoint log-backup  again".into()
    }
}

/// The folder of this series. One that was there and is not any more is an absent mount: nothing is copied below it.
fn open(destination: &Path, workload: &str, series: &str, seen: &Path) -> Result<Folder, Fault> {
    let path = folder(destination, workload, series);
    let base = Folder::open(destination).map_err(|e| unusable(destination, &e))?;
    if std::fs::metadata(destination).is_ok_and(|m| m.mode() & 0o022 != 0) {
        let what = format!("others can write to {}: what lies there could be anybody's.", destination.display());
        return Err(Fault::new("SP-LOG-002", Exit::Internal, what)
            .done("Nothing was copied.")
            .next(format!("chmod go-w {}", destination.display())));
    }
    let before = std::fs::read_to_string(seen).unwrap_or_default();
    if Path::new(&before) == path && !path.is_dir() {
        let what = format!("{before} is not there, and logs were copied to it.");
        return Err(Fault::new("SP-LOG-003", Exit::Internal, what)
            .done("Nothing was copied.")
            .next(format!("mount the destination again, or remove {} to begin anew", seen.display())));
    }
    let inner = base.inner(workload).and_then(|f| f.inner(series)).map_err(|e| unusable(&path, &e))?;
    let remembered = seen.parent().map_or(Ok(()), std::fs::create_dir_all);
    remembered
        .and_then(|()| std::fs::write(seen, path.as_os_str().as_encoded_bytes()))
        .map_err(|e| unusable(seen, &e))?;
    Ok(inner)
}

fn unusable(path: &Path, why: &io::Error) -> Fault {
    Fault::new("SP-LOG-002", Exit::Internal, format!("{} cannot be used: {why}.", path.display()))
        .done("Nothing was copied.")
        .next("see whether it is mounted, and has a real path without links")
}

/// Opens a log. The database said where it is, and might say anything: a link is not followed, and what is root's alone is
/// no database's.
pub fn open_log(path: &Path) -> Result<File, String> {
    use std::os::fd::AsRawFd;
    // Only looked at: opening a device can already do something.
    let flags = (OFlags::NOFOLLOW | OFlags::PATH).bits().cast_signed();
    let place = File::options().read(true).custom_flags(flags).open(path).map_err(|e| e.to_string())?;
    let meta = place.metadata().map_err(|e| e.to_string())?;
    let on = rustix::fs::fstatfs(&place).map_err(|e| e.to_string())?;
    if !meta.is_file() || on.f_type == rustix::fs::PROC_SUPER_MAGIC {
        return Err("it is no file".into());
    }
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    let file = File::options().read(true).open(again).map_err(|e| e.to_string())?;
    if meta.uid() == 0 && rustix::process::geteuid().is_root() {
        return Err("it belongs to root, and so to no database".into());
    }
    Ok(file)
}

fn text(rows: &Rows) -> Option<String> {
    match rows.as_slice() {
        [row] => cell(row.first()),
        _ => None,
    }
}

fn cell(value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}
