//! `record`: show what a cycle did, entry by entry, and tell whether what is kept is what was written.

use super::{Context, Output, agent, internal, screen};
use crate::audit::chain::{self, Head, Line, Walk};
use crate::audit::verify::{Report, Summary, judge};
use crate::audit::{Act, Outcome, Sender, Statement, What, Who};
use crate::cycle::Release;
use crate::cycle::record::{Record, Verdict, WorkloadRecord};
use crate::fault::{Exit, Fault, plain};

/// Lists what is kept, the newest first.
pub fn list(context: &Context) -> Exit {
    let records = match kept_records(context) {
        Ok(records) => records,
        Err(fault) => return screen::faults(context.output, &[fault]),
    };
    match context.output {
        Output::Json => {
            let one = |r: &Record| {
                let names: Vec<&str> = r.workloads.iter().map(|w| w.name.as_str()).collect();
                let (cycle, exit, verdict, kind) = (&r.cycle, r.exit, r.verdict, r.kind);
                let (began_at, frozen_at, released_by) = (&r.began_at, &r.frozen_at, &r.released_by);
                serde_json::json!({ "cycle": cycle, "began_at": began_at, "frozen_at": frozen_at, "exit": exit,
                                    "released_by": released_by, "verdict": verdict, "kind": kind,
                                    "workloads": names })
            };
            screen::say(serde_json::json!({ "cycles": records.iter().map(one).collect::<Vec<_>>() }));
        }
        Output::Text => {
            for record in &records {
                let kind = record.kind.map(|k| format!(" ({k})")).unwrap_or_default();
                let end = match thawed_too_early_by(record) {
                    _ if record.exit == Exit::CommandFailed => ", the command failed".to_owned(),
                    Some(by) => format!(", thawed by {}", plain(by)),
                    None if record.workloads.is_empty() => ", its keeper was lost".to_owned(),
                    None => String::new(),
                };
                let at: String =
                    plain(record.frozen_at.as_ref().unwrap_or(&record.began_at)).chars().take(19).collect();
                screen::say(format_args!(
                    "  {}  {at}Z  {}{kind}{end}  {}",
                    record.cycle,
                    record.verdict,
                    workloads(record)
                ));
            }
            if records.is_empty() {
                screen::say("  no cycle is recorded");
            }
        }
    }
    Exit::Done
}

/// The names of its workloads; each with its verdict, where they differ, and those that others were given up for.
fn workloads(record: &Record) -> String {
    let differ = record.workloads.iter().any(|w| w.verdict != record.verdict);
    let failed = record.workloads.iter().any(|w| !w.faults.is_empty());
    let one = |w: &WorkloadRecord| match differ {
        true => format!("{} {}", plain(&w.name), w.verdict),
        false if record.verdict == Verdict::Failed && failed && w.faults.is_empty() => {
            format!("{} (given up)", plain(&w.name))
        }
        false => plain(&w.name),
    };
    record.workloads.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Who thawed a cycle before its agent had said that the snapshot is cut. `None`: the agent has said so, or nothing stood
/// still.
pub fn thawed_too_early_by(record: &Record) -> Option<&str> {
    let by = record.released_by.as_deref().unwrap_or("nobody knows whom");
    (record.frozen_at.is_some() && by != Release::Asked.to_string()).then_some(by)
}

/// The verdicts that are kept, the newest first. What cannot be read is passed over: `verify` tells of it.
pub fn kept_records(context: &Context) -> Result<Vec<Record>, Fault> {
    let kept = chain::kept(&context.places.records());
    let kept = kept.map_err(|e| internal(&format!("the records cannot be read: {e}")))?;
    let mut records: Vec<Record> = kept.iter().filter_map(|cycle| kept_record(context, cycle)).collect();
    let began = |r: &Record| r.began_at.parse::<jiff::Timestamp>().ok();
    records.sort_by_key(|r| std::cmp::Reverse(began(r)));
    Ok(records)
}

fn kept_record(context: &Context, cycle: &str) -> Option<Record> {
    serde_json::from_slice(&std::fs::read(context.places.record(cycle)).ok()?).ok()
}

/// Shows one cycle: the newest, unless one is named.
pub fn show(context: &Context, named: Option<&str>) -> Exit {
    let folder = context.places.records();
    let newest = chain::read_head(&folder).ok().flatten().map(|h| h.cycle);
    let Some(cycle) = named.map(str::to_owned).or(newest) else {
        return screen::faults(context.output, &[none("no cycle is recorded.")]);
    };
    let kept = chain::is_cycle(&cycle).then(|| chain::read(&chain::path(&folder, &cycle)));
    let bytes = match kept {
        Some(Ok(bytes)) => bytes,
        Some(Err(e)) if e.kind() != std::io::ErrorKind::NotFound => {
            return screen::faults(context.output, &[internal(&format!("the record of {cycle} cannot be read: {e}"))]);
        }
        _ => {
            return screen::faults(context.output, &[none(&format!("there is no record of cycle {}.", plain(&cycle)))]);
        }
    };
    let walk = Walk::of(&cycle, &bytes);
    let whole = walk.broken.is_none() && walk.whole == bytes.len();
    let head = walk.hashes.last();
    // None while it is under way.
    let record = kept_record(context, &cycle);
    match context.output {
        Output::Json => {
            screen::say(serde_json::json!({ "cycle": cycle, "head": head, "whole": whole, "entries": walk.lines,
                                            "record": record }));
        }
        Output::Text => {
            let head = head.map_or("none", String::as_str);
            screen::say(format_args!("stillpoint · record of cycle {cycle}\n\n  head {head}\n"));
            for same in walk.lines.chunk_by(|a, b| is_repeated(&a.what, &b.what)) {
                let [first, rest @ ..] = same else { continue };
                screen::say(format_args!("  {}", words(first)));
                match rest {
                    [] => {}
                    [other] => drop(screen::say(format_args!("  {}", words(other)))),
                    [.., last] => {
                        let (count, number, at) = (rest.len(), last.number, time_of(last));
                        screen::say(format_args!("         … {count} times more, up to entry {number} at {at}"));
                    }
                }
            }
            if !whole {
                screen::say("\n  ! what follows is not as it was written: see  stillpoint record verify");
            }
            if let Some(record) = &record {
                screen::say("");
                screen::record(Output::Text, record);
            }
        }
    }
    Exit::Done
}

/// Verifies everything that is kept, and with `asked` that it is what somebody holds the head of.
pub fn verify(context: &Context, asked: Option<&str>) -> Exit {
    let asked = match asked.map(|a| a.trim().to_ascii_lowercase()) {
        Some(a) if !chain::is_hash(&a) => {
            let fault = Fault::new("SP-AUDIT-003", Exit::Usage, "a head is 64 hexadecimal digits.");
            let next = "copy  head  from the verdict, or from the event cycle.verdict";
            return screen::faults(context.output, &[fault.next(next)]);
        }
        other => other,
    };
    let folder = context.places.records();
    let under_way = agent::find(context).is_some();
    let head = match chain::read_head(&folder) {
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Ok(None),
        other => other,
    };
    let read = head.and_then(|head| Ok((summaries(&folder, head.as_ref())?, head)));
    let (summaries, head) = match read {
        Ok(read) => read,
        Err(e) => return screen::faults(context.output, &[internal(&format!("the records cannot be read: {e}"))]),
    };
    let report = judge(summaries, head.as_ref(), asked.as_deref(), under_way);
    let exit = if report.is_good() { Exit::Done } else { Exit::Untrusted };
    match context.output {
        Output::Json => {
            screen::say(serde_json::json!({ "exit": exit, "good": report.is_good(), "report": report }));
        }
        Output::Text => tell(&report, asked.as_deref()),
    }
    exit
}

fn summaries(folder: &std::path::Path, head: Option<&Head>) -> std::io::Result<Vec<Summary>> {
    let read = |cycle: String| {
        let bytes = chain::read(&chain::path(folder, &cycle))?;
        Ok(Summary::of(&cycle, &bytes, head))
    };
    chain::kept(folder)?.into_iter().map(read).collect()
}

fn tell(report: &Report, asked: Option<&str>) {
    for problem in &report.problems {
        let cycle = problem.cycle.as_ref().map(|c| format!("cycle {c}: ")).unwrap_or_default();
        screen::say(format_args!("  ✘ {cycle}{}", plain(&problem.what)));
    }
    if !report.is_good() {
        let next = "→ these records prove nothing from there on; compare the heads that somebody else holds";
        screen::say(format_args!("  {next}   SP-AUDIT-002"));
        return;
    }
    let (Some(newest), Some(oldest)) = (report.cycles.first(), report.cycles.last()) else {
        screen::say("no cycle is recorded");
        return;
    };
    let count = report.cycles.len();
    let entries: u64 = report.cycles.iter().map(|c| c.entries).sum();
    screen::say(format_args!(
        "  ✔ {count} cycle{}, {entries} entries, from {} to {}: as they were written",
        if count == 1 { "" } else { "s" },
        plain(&oldest.began_at),
        plain(&newest.began_at),
    ));
    screen::say(format_args!("    newest  {}  head {}", newest.cycle, newest.head));
    if let Some(cycle) = &report.under_way {
        screen::say(format_args!("    cycle {cycle} is under way, and has no verdict yet"));
    }
    match &report.held {
        Some(cycle) => screen::say(format_args!("    the head that you hold is that of cycle {cycle}")),
        None if asked.is_none() => screen::say(
            "    Whoever is root can write all of it anew. Only a head kept elsewhere shows that:  --head HASH",
        ),
        None => true,
    };
}

fn none(what: &str) -> Fault {
    Fault::new("SP-AUDIT-004", Exit::Usage, what).next("see  stillpoint record list  for what is kept")
}

fn time_of(line: &Line) -> &str {
    line.at.get(11..23).unwrap_or(&line.at)
}

/// Whether it is the same statement, with the same outcome: a module may ask some thousand times.
fn is_repeated(one: &What, other: &What) -> bool {
    match (one, other) {
        (What::Statement(one), What::Statement(other)) => {
            Statement { took_us: 0, ..(**one).clone() } == Statement { took_us: 0, ..(**other).clone() }
        }
        _ => false,
    }
}

/// One entry for people, on a line of its own.
fn words(line: &Line) -> String {
    let torn = if line.torn { "  (an entry before this one was torn)" } else { "" };
    let (kind, what) = match &line.what {
        What::Begin(b) => {
            let modules: Vec<_> =
                b.workloads.iter().map(|w| format!("{} ({} {})", w.name, w.module, w.version)).collect();
            let after = b.after.as_ref().map(|c| format!(", after cycle {c}")).unwrap_or_default();
            ("begin", format!("{}{after}", modules.join(", ")))
        }
        What::Retention { removed } => {
            let cycles: Vec<_> = removed.iter().map(|r| r.cycle.as_str()).collect();
            ("removed", cycles.join(", "))
        }
        What::Statement(s) => {
            let by = if s.by == Sender::Module { "module" } else { "host" };
            let database = s.database.as_ref().map(|d| format!(" {d}")).unwrap_or_default();
            let took = screen::time(s.took_us);
            let outcome = outcome(&s.outcome);
            let name = format!("{} · {}", s.name, s.session);
            ("statement", format!("{} · {} · {by} · {name}{database} · {took} · {outcome}", s.workload, s.phase))
        }
        What::Refusal { workload, phase, asked, why, .. } => {
            let asked = if asked.is_empty() { "(a name that is no plain word)" } else { asked };
            ("refused", format!("{workload} · {phase} · {asked} · {why}"))
        }
        What::MoreRefusals { workload, count } => ("refused", format!("{workload} · {count} more times")),
        What::Event { event, workload, .. } => {
            ("event", format!("{}{event}", workload.as_ref().map(|w| format!("{w} · ")).unwrap_or_default()))
        }
        What::Filesystem { path, act, outcome, took_us } => {
            let act = if *act == Act::Freeze { "freeze" } else { "thaw" };
            ("filesystem", format!("{} · {act} · {} · {outcome}", path, screen::time(*took_us)))
        }
        What::Undo { workload, froze, by, how } => ("undo", format!("{workload} · {froze} · {} · {how}", who(*by))),
        What::Lost { by } => ("lost", format!("it was left without its end; ended by {}", who(*by))),
        What::Verdict { verdict, kind, released_by, .. } => {
            let kind = kind.map(|k| format!(" ({k})")).unwrap_or_default();
            let by = released_by.as_ref().map(|b| format!(" · thawed by {b}")).unwrap_or_default();
            ("verdict", format!("{verdict}{kind}{by}"))
        }
    };
    // The day stands in the first entry.
    let at = if line.number == 1 { line.at.as_str() } else { time_of(line) };
    plain(&format!("{:>5}  {at}  {kind:<10}  {what}{torn}", line.number))
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Unanswered => "nobody waited for the answer".into(),
        Outcome::Rows(1) => "1 row".into(),
        Outcome::Rows(n) => format!("{n} rows"),
        Outcome::Done => "done".into(),
        Outcome::Error { code, .. } if code.is_empty() => "an error".into(),
        Outcome::Error { code, .. } => format!("error {code}"),
        Outcome::TimedOut => "no answer in time".into(),
        Outcome::Lost => "the session was lost".into(),
        Outcome::TooLarge => "too long an answer".into(),
        Outcome::Unexpected => "an unexpected answer".into(),
    }
}

fn who(who: Who) -> &'static str {
    match who {
        Who::Keeper => "the keeper",
        Who::Guard => "the guard",
        Who::Recovery => "recovery",
    }
}
