//! `recovery`: print the commands that make a running database of a cycle's snapshot. None of them is run.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use stillpoint_contract::manifest::Route;

use super::record::{kept_records, thawed_too_early_by};
use super::{Context, Output, screen};
use crate::audit::chain;
use crate::cycle::record::{Record, Verdict, WorkloadRecord};
use crate::fault::{Exit, Fault, plain};
use crate::recipe::{Step, To, Wish, follows_logs, steps};

/// What is said where a step fails. `server` may be anything in the shell that reads it.
const STOPPED: &str = "server=; trap '[ $? = 0 ] || echo \"IT STOPPED at the last line above.${server:+ A server that it \
                       started still runs, process $server: let nobody use it, and end it with its own command.} What \
                       the steps above it have made is not whole: move it away before it is run again, and nothing \
                       else.\" >&2' EXIT";

/// How wide a comment becomes.
const WIDTH: usize = 100;

/// What is asked.
#[derive(Debug, Args)]
pub struct Asked {
    /// The cycle's id [default: the newest whose snapshot was taken, and not after the time of `--to`]
    cycle: Option<String>,
    /// A cycle's verdict as JSON, where the machine's own records are gone
    #[arg(long, value_name = "FILE", conflicts_with = "cycle")]
    record: Option<PathBuf>,
    /// Only this workload [default: all of the cycle]
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// How the snapshot is come by: `new-machine` was made from it, and the data lies where it always did;
    /// `attached-disks` are mounted on another machine; `scratch` is the same for single files or tables, through a
    /// server that nobody else uses [default: all three, one after the other]
    #[arg(long, value_name = "ROUTE", value_parser = route)]
    route: Option<Route>,
    /// How far to follow the logs: a time such as 2026-11-24T16:00:00Z, `latest` for all of them, `recorded` for the end
    /// that was recorded at the thaw (PostgreSQL: of the backup; MySQL: its place in the binary log; Oracle: the archived
    /// SCN); where writers stood still, the snapshot itself [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = to)]
    to: Option<To>,
    /// Where the snapshot's disks are mounted
    #[arg(long, value_name = "DIR", default_value = "/mnt")]
    snapshot: PathBuf,
    /// Where the data is to lie [default: where it lay; for `scratch` /var/lib/stillpoint-scratch-WORKLOAD]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The folder of the logs [default: where log-backup put them]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

fn route(text: &str) -> Result<Route, String> {
    Route::ALL.into_iter().find(|r| r.word() == text).ok_or_else(|| {
        let words: Vec<&str> = Route::ALL.iter().map(|r| r.word()).collect();
        format!("name one of: {}", words.join(", "))
    })
}

fn to(text: &str) -> Result<To, String> {
    match text {
        "latest" => Ok(To::Latest),
        "recorded" => Ok(To::Recorded),
        time => time.parse::<Timestamp>().map(To::Time).map_err(|_| {
            "write a time with its zone, such as 2026-11-24T16:00:00Z or 2026-11-24T17:00:00+01:00, or  latest , or  \
             recorded"
                .to_owned()
        }),
    }
}

/// Prints the steps.
pub fn recovery(context: &Context, asked: &Asked) -> Exit {
    match run(context, asked) {
        Ok(exit) => exit,
        Err(fault) => screen::faults(context.output, &[fault]),
    }
}

/// The steps for one workload on one route.
struct Part<'r> {
    workload: &'r WorkloadRecord,
    route: Route,
    steps: Vec<Step>,
    follows_logs: bool,
}

fn run(context: &Context, asked: &Asked) -> Result<Exit, Fault> {
    let (record, passed) = choose(context, asked)?;
    let routes = asked.route.map_or_else(|| Route::ALL.to_vec(), |route| vec![route]);
    let chosen = |w: &&WorkloadRecord| asked.workload.as_ref().is_none_or(|name| *name == w.name);
    let (without, frozen): (Vec<&WorkloadRecord>, Vec<_>) =
        record.workloads.iter().filter(chosen).partition(|w| w.verdict == Verdict::Failed);
    if frozen.is_empty() {
        return Err(no_such_workload(&record));
    }
    if frozen.len() > 1 && asked.folder.is_some() {
        let what = "there is one folder, and more than one workload: each would lie in the other's.";
        return Err(Fault::new("SP-RECOVERY-009", Exit::Usage, what).next("name one with  --workload"));
    }
    let mut parts = Vec::new();
    for workload in frozen {
        let follows_logs = workload.recovery.as_ref().is_some_and(follows_logs);
        for &route in &routes {
            let steps = steps(workload, &wish(&record, asked, workload, route), frozen_at(&record))?;
            parts.push(Part { workload, route, steps, follows_logs });
        }
    }
    match context.output {
        Output::Json => {
            let parts: Vec<_> = parts
                .iter()
                .map(|p| {
                    let w = p.workload;
                    serde_json::json!({ "workload": w.name, "route": p.route, "verdict": w.verdict,
                                        "untried": w.untried, "follows_logs": p.follows_logs, "steps": p.steps })
                })
                .collect();
            let without: Vec<&str> = without.iter().map(|w| w.name.as_str()).collect();
            screen::say(serde_json::json!({ "cycle": record.cycle, "passed_over": passed, "not_frozen": without,
                                "vouched": asked.record.is_none(), "recovery": parts }));
        }
        Output::Text => {
            for why in &passed {
                comment(&format!("! passed over: {why}"));
            }
            for w in without {
                comment(&format!("! {} was not frozen in this cycle: nothing is said about it here.", w.name));
            }
            for part in &parts {
                print(part, &record, asked);
            }
        }
    }
    Ok(Exit::Done)
}

fn no_such_workload(record: &Record) -> Fault {
    let there = record.workloads.iter().filter(|w| w.verdict != Verdict::Failed);
    let names: Vec<&str> = there.map(|w| w.name.as_str()).collect();
    let what = format!("in cycle {} no such workload was frozen.", record.cycle);
    let next = match names.is_empty() {
        true => "take another cycle: see  stillpoint record list".to_owned(),
        false => format!("name one of: {}", names.join(", ")),
    };
    Fault::new("SP-RECOVERY-008", Exit::Usage, what).next(next)
}

fn wish(record: &Record, asked: &Asked, workload: &WorkloadRecord, route: Route) -> Wish {
    // In a folder of root's: nobody else can be there before.
    let scratch = || PathBuf::from(format!("/var/lib/stillpoint-scratch-{}", workload.name));
    Wish {
        cycle: record.cycle.clone(),
        kind: record.snapshot,
        route,
        to: asked.to.unwrap_or(To::Snapshot),
        mounted: if route == Route::NewMachine { "/".into() } else { asked.snapshot.clone() },
        folder: match route {
            Route::NewMachine => None,
            Route::AttachedDisks => asked.folder.clone(),
            Route::Scratch => Some(asked.folder.clone().unwrap_or_else(scratch)),
        },
        logs: asked.logs.clone(),
    }
}

/// A script, with what is to be known before.
fn print(part: &Part<'_>, record: &Record, asked: &Asked) {
    let workload = part.workload;
    let kind = workload.kind.map(|k| format!(" ({k})")).unwrap_or_default();
    let frozen_at = record.frozen_at.as_deref().unwrap_or("nobody knows when");
    comment(&format!(
        "{} {} · cycle {} of {frozen_at} · {}{kind} · {}",
        workload.name,
        plain(&workload.database),
        record.cycle,
        workload.verdict,
        part.route.word(),
    ));
    if let Some(reason) = &workload.reason {
        comment(&format!("! {}", plain(reason)));
    }
    if let Some(untried) = &workload.untried {
        comment(&format!("! UNTRIED ON A REAL SERVER: {}", plain(untried)));
    }
    if matches!(asked.to, Some(To::Time(_) | To::Latest)) && !part.follows_logs {
        comment(&format!(
            "! IT HAS NO LOG TO FOLLOW: these steps lead to the snapshot itself, of {frozen_at}, and no further."
        ));
    }
    if asked.record.is_some() {
        comment(
            "! NOBODY VOUCHES FOR THESE COMMANDS: they are the file's own. Compare them with  stillpoint module inspect  \
             of the module that you trust.",
        );
    }
    if record.exit == Exit::CommandFailed {
        comment("! the command that was to cut the snapshot failed: see whether there is one at all.");
    } else if let Some(why) = not_said(record, "it") {
        comment(&format!("! {why}: see whether there is one, and of when."));
    }
    comment("Read it, write it into a file, and run that as root on the machine that is to have the data: sh FILE");
    screen::say("set -eux");
    screen::say(STOPPED);
    for (i, step) in part.steps.iter().enumerate() {
        tell(i + 1, step);
    }
    screen::say("");
}

/// The record that is asked for: the newest that is of use, unless one is named. And why newer ones are not.
fn choose(context: &Context, asked: &Asked) -> Result<(Record, Vec<String>), Fault> {
    let none = |what: String| Fault::new("SP-RECOVERY-001", Exit::Usage, what);
    let path = match (&asked.record, &asked.cycle) {
        (Some(file), _) => file.clone(),
        (None, Some(cycle)) if chain::is_cycle(cycle) => context.places.record(cycle),
        (None, Some(_)) => {
            return Err(none("that is no id of a cycle.".into()).next("see  stillpoint record list"));
        }
        (None, None) => return newest(context, asked),
    };
    let text = std::fs::read_to_string(&path).map_err(|e| {
        none(format!("the record {} cannot be read: {e}.", path.display()))
            .next("see  stillpoint record list , or name a verdict that somebody kept:  --record FILE")
    })?;
    let record: Record =
        serde_json::from_str(&text).map_err(|e| none(format!("{} is no record of a cycle: {e}.", path.display())))?;
    match nothing_to_print(&record, "it") {
        Some(why) => {
            let what = format!("nothing can be printed for cycle {}: {why}.", record.cycle);
            Err(Fault::new("SP-RECOVERY-008", Exit::Usage, what)
                .next("take another cycle: see  stillpoint record list"))
        }
        None => Ok((record, Vec::new())),
    }
}

fn newest(context: &Context, asked: &Asked) -> Result<(Record, Vec<String>), Fault> {
    let records = kept_records(context)?;
    if let Some(name) = &asked.workload {
        is_known(name, &records)?;
    }
    let mut passed = Vec::new();
    for record in records {
        match useless(&record, asked) {
            None => return Ok((record, passed)),
            Some(why) => passed.push(format!("{}, {why}", record.cycle)),
        }
    }
    let what = match passed.first() {
        None => "no cycle is recorded.".to_owned(),
        Some(first) => format!("no cycle is of use; the newest is {first}."),
    };
    Err(Fault::new("SP-RECOVERY-001", Exit::Usage, what).next("name a verdict that somebody kept:  --record FILE"))
}

/// A name that is in no record is a mistake. Where no record has any, nobody can tell.
fn is_known(name: &str, records: &[Record]) -> Result<(), Fault> {
    let all: BTreeSet<&str> = records.iter().flat_map(|r| &r.workloads).map(|w| w.name.as_str()).collect();
    if all.is_empty() || all.contains(name) {
        return Ok(());
    }
    let all: Vec<&str> = all.into_iter().collect();
    Err(Fault::new("SP-RECOVERY-008", Exit::Usage, format!("no record has a workload {name}."))
        .next(format!("name one of: {}", all.join(", "))))
}

/// Why a cycle is passed over where none is named.
fn useless(record: &Record, asked: &Asked) -> Option<String> {
    if let Some(why) = nothing_to_print(record, "which") {
        return Some(why);
    }
    if record.exit == Exit::CommandFailed {
        return Some("whose command failed".into());
    }
    if let Some(why) = not_said(record, "which") {
        return Some(why);
    }
    if let (Some(To::Time(to)), Some(frozen)) = (asked.to, frozen_at(record))
        && to < frozen
    {
        return Some(format!("which is of {frozen}: logs lead forward only"));
    }
    let has = |name: &String| record.workloads.iter().any(|w| w.name == *name && w.verdict != Verdict::Failed);
    let name = asked.workload.as_ref().filter(|name| !has(name))?;
    Some(format!("in which {name} was not frozen"))
}

/// Why there are no commands for a cycle, whoever asks for it.
fn nothing_to_print(record: &Record, it: &str) -> Option<String> {
    if record.workloads.is_empty() {
        let why = "its keeper was lost, and with it what the snapshot holds: a snapshot of it is crash-consistent at best, \
                   and no commands can be printed for it";
        return Some(why.into());
    }
    frozen_at(record).is_none().then(|| format!("{it} was not frozen"))
}

/// That nobody said that there is a snapshot.
fn not_said(record: &Record, it: &str) -> Option<String> {
    let by = thawed_too_early_by(record)?;
    Some(format!("{it} was thawed by {by}, before anybody said that the snapshot was cut"))
}

fn frozen_at(record: &Record) -> Option<Timestamp> {
    record.frozen_at.as_ref()?.parse().ok()
}

fn tell(number: usize, step: &Step) {
    screen::say("");
    comment(&format!("{number}. {}", step.say));
    if let Some(run) = &step.run {
        screen::say(run);
    }
}

/// Lines that a shell passes over.
fn comment(text: &str) {
    let mut line = String::from("#");
    for word in plain(text).split_whitespace() {
        if line.chars().count() + word.chars().count() >= WIDTH {
            screen::say(&line);
            line = String::from("#");
        }
        line += " ";
        line += word;
    }
    screen::say(line);
}
