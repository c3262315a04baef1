//! `recovery`: print the commands that make a running database of a cycle's snapshot. None of them is run.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use stillpoint_contract::manifest::Route;

use super::record::kept_records;
use super::{Context, Output, screen};
use crate::audit::chain;
use crate::cycle::record::{Record, Verdict};
use crate::fault::{Exit, Fault, plain};
use crate::recipe::{Step, To, Wish, steps};

/// What is said where a step fails.
const STOPPED: &str = "trap '[ $? = 0 ] || echo \"IT STOPPED at the last line above. A server that it started still runs: kill \
                       ${server:-none}. Before it is run again, what it has made must go: the new folder.\" >&2' EXIT";

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
    /// How far to follow the logs: a time such as 2026-11-24T16:00:00Z, `latest` for all of them, `recorded` for the
    /// recovery point itself [default: not at all]
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

fn run(context: &Context, asked: &Asked) -> Result<Exit, Fault> {
    let (record, passed) = choose(context, asked)?;
    let routes = asked.route.map_or_else(|| Route::ALL.to_vec(), |route| vec![route]);
    let frozen_at = record.frozen_at.as_ref().and_then(|at| at.parse().ok());
    let chosen = |name: &str| asked.workload.as_ref().is_none_or(|w| w == name);
    let mut parts = Vec::new();
    let mut without = Vec::new();
    for workload in record.workloads.iter().filter(|w| chosen(&w.name)) {
        if workload.verdict == Verdict::Failed {
            without.push(workload.name.as_str());
            continue;
        }
        for &route in &routes {
            // In a folder of root's: nobody else can be there before.
            let scratch = || PathBuf::from(format!("/var/lib/stillpoint-scratch-{}", workload.name));
            let wish = Wish {
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
            };
            parts.push((workload, route, steps(workload, &wish, frozen_at)?));
        }
    }
    if parts.is_empty() {
        let there = record.workloads.iter().filter(|w| w.verdict != Verdict::Failed);
        let names: Vec<&str> = there.map(|w| w.name.as_str()).collect();
        let what = format!("in cycle {} no such workload was frozen.", record.cycle);
        let next = match names.is_empty() {
            true => "take another cycle: see  stillpoint record list".to_owned(),
            false => format!("name one of: {}", names.join(", ")),
        };
        return Err(Fault::new("SP-RECOVERY-008", Exit::Usage, what).next(next));
    }
    match context.output {
        Output::Json => {
            let parts: Vec<_> = parts
                .iter()
                .map(|(w, route, steps)| {
                    serde_json::json!({ "workload": w.name, "route": route, "verdict": w.verdict, "untried": w.untried, "steps": steps })
                })
                .collect();
            screen::say(serde_json::json!({ "cycle": record.cycle, "passed_over": passed, "not_frozen": without,
                                "vouched": asked.record.is_none(), "recovery": parts }));
        }
        Output::Text => {
            for why in &passed {
                comment(&format!("! passed over: {why}"));
            }
            for name in without {
                comment(&format!("! {name} was not frozen in this cycle: nothing is said about it here."));
            }
            for (workload, route, steps) in parts {
                let kind = workload.kind.map(|k| format!(" ({k})")).unwrap_or_default();
                comment(&format!(
                    "{} {} · cycle {} of {} · {}{kind} · {}",
                    workload.name,
                    plain(&workload.database),
                    record.cycle,
                    record.frozen_at.as_deref().unwrap_or("nobody knows when"),
                    workload.verdict,
                    route.word(),
                ));
                if let Some(reason) = &workload.reason {
                    comment(&format!("! {}", plain(reason)));
                }
                if let Some(untried) = &workload.untried {
                    comment(&format!("! UNTRIED ON A REAL SERVER: {}", plain(untried)));
                }
                if asked.record.is_some() {
                    comment(
                        "! NOBODY VOUCHES FOR THESE COMMANDS: they are the file's own. Compare them with  stillpoint module \
                         inspect  of the module that you trust.",
                    );
                }
                if record.exit == Exit::CommandFailed {
                    comment("! the command that was to cut the snapshot failed: see whether there is one at all.");
                }
                comment(
                    "Read it, write it into a file, and run that as root on the machine that is to have the data: sh FILE",
                );
                screen::say("set -eux");
                screen::say(STOPPED);
                for (i, step) in steps.iter().enumerate() {
                    tell(i + 1, step);
                }
                screen::say("");
            }
        }
    }
    Ok(Exit::Done)
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
        (None, None) => return newest(context, asked.to),
    };
    let text = std::fs::read_to_string(&path).map_err(|e| {
        none(format!("the record {} cannot be read: {e}.", path.display()))
            .next("see  stillpoint record list , or name a verdict that somebody kept:  --record FILE")
    })?;
    let record: Record =
        serde_json::from_str(&text).map_err(|e| none(format!("{} is no record of a cycle: {e}.", path.display())))?;
    match useless(&record, None) {
        Some(why) if record.exit != Exit::CommandFailed => {
            let what = format!("there is no snapshot of cycle {}: {why}.", record.cycle);
            Err(Fault::new("SP-RECOVERY-008", Exit::Usage, what)
                .next("take another cycle: see  stillpoint record list"))
        }
        _ => Ok((record, Vec::new())),
    }
}

fn newest(context: &Context, to: Option<To>) -> Result<(Record, Vec<String>), Fault> {
    let mut passed = Vec::new();
    for record in kept_records(context)? {
        match useless(&record, to) {
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

/// Why nothing can be recovered from a cycle, where logs are followed to there.
fn useless(record: &Record, to: Option<To>) -> Option<String> {
    let frozen: Option<Timestamp> = record.frozen_at.as_ref().and_then(|at| at.parse().ok());
    if record.workloads.is_empty() {
        return Some("which lost its keeper".into());
    }
    let Some(frozen) = frozen else { return Some("which was not frozen".into()) };
    if record.exit == Exit::CommandFailed {
        return Some("whose command failed".into());
    }
    match to {
        Some(To::Time(to)) if to < frozen => Some(format!("which is of {frozen}: logs lead forward only")),
        _ => None,
    }
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
