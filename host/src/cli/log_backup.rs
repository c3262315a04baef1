//! `log-backup`: copy the logs that databases have closed.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use jiff::Timestamp;

use super::record::kept_records;
use super::{Context, Output, internal, runtime, screen};
use crate::broker::Broker;
use crate::cycle::book::Book;
use crate::cycle::record::{Record, Verdict};
use crate::events::Events;
use crate::fault::{Exit, Fault, plain};
use crate::keeper::{self, Loaded};
use crate::log_backup::copy::Folder;
use crate::log_backup::{MISSING, Report, back_up, open_log};

/// What is asked.
#[derive(Debug, Args)]
pub struct Asked {
    /// Copy these files to this folder, and nothing else: for a database that hands its logs on by itself, such as
    /// PostgreSQL with  archive_command = 'stillpoint log-backup --into DIR %p'
    #[arg(long, value_name = "DIR", requires = "files")]
    into: Option<PathBuf>,
    /// The files
    #[arg(value_name = "FILE", requires = "into")]
    files: Vec<PathBuf>,
}

/// Copies, and says what came of it.
pub fn log_backup(context: &Context, asked: &Asked) -> Exit {
    let done = match &asked.into {
        Some(folder) => hand_on(folder, &asked.files).map_err(|f| vec![f]),
        None => run(context),
    };
    match done {
        Ok(exit) => exit,
        Err(faults) => screen::faults(context.output, &faults),
    }
}

/// By whoever may read the files, without any configuration. Says nothing when it is done.
fn hand_on(into: &Path, files: &[PathBuf]) -> Result<Exit, Fault> {
    let failed = |id: &str, what: String| {
        Fault::new(id, Exit::Internal, what).done("The source is untouched, and nothing is seen of a part.")
    };
    let folder = Folder::open(into).map_err(|e| {
        failed("SP-LOG-002", format!("{} cannot be used: {e}.", into.display()))
            .next("make it, for the database's own user; give its real path, without links")
    })?;
    for path in files {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        // Of what is there all is read: what this acknowledges, the database removes.
        let none = std::collections::BTreeMap::new();
        if let Err(why) = open_log(path, None).and_then(|mut log| folder.copy(&mut log, name, &none)) {
            let what = format!("the log {} cannot be copied: {why}.", path.display());
            return Err(failed("SP-LOG-005", what).next(why.next(into)));
        }
    }
    Ok(Exit::Done)
}

fn run(context: &Context) -> Result<Exit, Vec<Fault>> {
    let Loaded { configuration, modules, .. } =
        keeper::load(&context.places, context.config.as_deref(), context.unsigned)?;
    let nothing = |what: String, next: &str| vec![Fault::new("SP-LOG-001", Exit::Usage, what).next(next)];
    let Some(log_destination) = &configuration.log_destination else {
        let what = format!("{} has no [logbackup].", configuration.path.display());
        return Err(nothing(what, "write  [logbackup]  and under it  baseLocation = /mnt/logs"));
    };
    let all = configuration.workloads.iter().zip(&modules);
    let with_logs: Vec<_> = all.filter_map(|(w, m)| Some((w, m, m.manifest().logs.clone()?))).collect();
    if with_logs.is_empty() {
        return Err(nothing("no workload's module knows of logs.".into(), "remove  [logbackup]"));
    }
    let runtime = runtime().map_err(|f| vec![f])?;
    let id = keeper::cycle_id().map_err(|e| vec![internal(&e.to_string())])?;
    // Nothing is armed: its ledger is nowhere.
    let book = Rc::new(Book::nowhere(&id).map_err(|e| vec![internal(&e.to_string())])?);
    let reports: Vec<Report> = tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut reports = Vec::new();
        for (workload, module, logs) in with_logs {
            let (manifest, path) = (module.manifest().clone(), configuration.path.clone());
            let broker = Broker::new(workload.clone(), manifest, path, Rc::clone(&book), Events::new(&id));
            let mut broker = match broker {
                Ok(broker) => broker,
                Err(fault) => {
                    let name = workload.name.clone();
                    reports.push(Report { workload: name, faults: vec![fault], ..Report::default() });
                    continue;
                }
            };
            let seen = context.places.lib.join("log-backup").join(&workload.name);
            let mut report = back_up(&mut broker, &logs, log_destination, &seen).await;
            remember_gap(context, &mut report, &seen.with_extension("gap"));
            reports.push(report);
            for (_, session) in std::mem::take(&mut broker.sessions) {
                session.close().await;
            }
        }
        reports
    });
    let exit = reports.iter().flat_map(|r| &r.faults).map(|f| f.exit).max().unwrap_or(Exit::Done);
    match context.output {
        Output::Json => drop(screen::say(serde_json::json!({ "exit": exit, "workloads": reports }))),
        Output::Text => reports.iter().for_each(tell),
    }
    Ok(exit)
}

/// Logs that are missing are told until a snapshot was taken that does not need them: one run that fails is easily missed.
fn remember_gap(context: &Context, report: &mut Report, gap: &Path) {
    if report.faults.iter().any(|f| f.id == MISSING) {
        let _ = std::fs::write(gap, "");
        return;
    }
    let Ok(Ok(since)) = std::fs::metadata(gap).and_then(|m| m.modified()).map(Timestamp::try_from) else { return };
    let frozen = |r: &Record| r.frozen_at.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
    let holds = |r: &Record| r.workloads.iter().any(|w| w.name == report.workload && w.verdict != Verdict::Failed);
    let newer = kept_records(context).unwrap_or_default().iter().any(|r| frozen(r) > Some(since) && holds(r));
    if newer {
        let _ = std::fs::remove_file(gap);
        return;
    }
    let what = format!("logs were removed before they were copied, at {since} or before; no snapshot was taken since.");
    let fault = Fault::new(MISSING, Exit::Internal, what).of(&report.workload).done("What is there is copied.");
    report.faults.push(fault.next("take a snapshot: from one before that, logs lead no further"));
}

fn tell(report: &Report) {
    let (folder, newest) = (report.folder.display(), plain(report.newest.as_deref().unwrap_or("none yet")));
    let mark = if report.faults.is_empty() { "✔" } else { "✘" };
    let nothing = report.copied.is_empty() && report.newest.is_none() && !report.faults.is_empty();
    let what = if report.folder.as_os_str().is_empty() || nothing {
        "nothing was copied".to_owned()
    } else if report.handed_on {
        format!("the database hands its logs on by itself; {} are in {folder}, the newest {newest}", report.there)
    } else {
        let (copied, kib) = (report.copied.len(), report.bytes.div_ceil(1024));
        format!("{copied} logs copied ({kib} KiB), {} there already, in {folder}, the newest {newest}", report.there)
    };
    screen::say(format_args!("{mark} {}  {what}", report.workload));
    for fault in &report.faults {
        screen::say(format_args!("    {fault}"));
    }
}
