//! What a person sees.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Output;
use crate::config::Role;
use crate::cycle::record::{Record, Verdict, WorkloadRecord};
use crate::fault::{Exit, Fault, plain};
use crate::keeper::control::Status;

/// Prints the answer. False when it could not be written: a full disk, a closed pipe.
pub fn say(text: impl Display) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// Prints beside the answer. Nobody need hear it.
pub fn say_beside(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says what went wrong; gives the exit code of the worst.
pub fn faults(output: Output, faults: &[Fault]) -> Exit {
    let exit = faults.iter().map(|f| f.exit).max().unwrap_or(Exit::Internal);
    match output {
        Output::Json => drop(say(serde_json::json!({ "exit": exit, "faults": faults }))),
        Output::Text => faults.iter().for_each(|f| say_beside(format_args!("✘ {f}"))),
    }
    exit
}

/// What a person sees while the cycle is under way: one line that changes on a terminal, plain lines elsewhere.
pub struct Progress {
    line: Option<ProgressBar>,
    silent: bool,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new(output: Output) -> Progress {
        let line = (output == Output::Text && std::io::stderr().is_terminal()).then(|| {
            let line = ProgressBar::new_spinner();
            line.set_prefix("stillpoint ·");
            line.set_style(ProgressStyle::with_template("{prefix} {msg}").unwrap_or(ProgressStyle::default_spinner()));
            line
        });
        Progress { line, silent: output == Output::Json }
    }

    /// Shows an event of the channel, where it is a phase.
    pub fn show(&self, event: &serde_json::Value) {
        let words = match event["type"].as_str() {
            Some("dev.stillpoint.cycle.check.v1") => "checking",
            Some("dev.stillpoint.cycle.prepare.v1") => "preparing, while everybody writes",
            Some("dev.stillpoint.cycle.freeze.v1") => "freezing",
            // The verdict says at once what there was to thaw.
            _ => return,
        };
        self.say(words);
    }

    /// Says that everything stands still, or what alone does.
    pub fn frozen(&self, status: &Status) {
        if status.failed.is_empty() {
            self.say("everything stands still");
        } else if !self.silent {
            status.failed.iter().for_each(|fault| say_beside(format_args!("✘ {fault}")));
            say_beside(format_args!("stillpoint · ONLY {} STANDS STILL", status.frozen.join(", ")));
        }
    }

    fn say(&self, words: &str) {
        match &self.line {
            Some(line) => {
                line.set_message(words.to_owned());
                line.tick();
            }
            None if self.silent => {}
            None => say_beside(format_args!("stillpoint · {words}")),
        }
    }

    /// Takes the line away: somebody else writes now.
    pub fn clear(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

/// What the cycle did. False when it could not be written.
pub fn record(output: Output, record: &Record) -> bool {
    match output {
        Output::Json => say(serde_json::to_string(record).unwrap_or_default()),
        Output::Text => say(text(record).trim_end()),
    }
}

/// The record for people.
fn text(record: &Record) -> String {
    let count = record.workloads.len();
    let mut out = match count {
        0 => format!("stillpoint · cycle {} · its keeper was lost\n\n", record.cycle),
        _ => format!(
            "stillpoint · cycle {} · {count} workload{} · at most {} s\n\n",
            record.cycle,
            plural(count),
            record.timeout_s
        ),
    };
    let name_width = record.workloads.iter().map(|w| w.name.len()).max().unwrap_or(0);
    for w in &record.workloads {
        let p = &w.phases;
        let mut line = format!("  {:<name_width$}  {} {}{}", w.name, w.module, plain(&w.database), replica(w));
        let failed = w.verdict == Verdict::Failed;
        let froze = if failed && !w.faults.is_empty() { "tried to freeze" } else { "froze" };
        // What did not happen has no duration.
        let phases = [("prepared", p.prepare_us), (froze, p.freeze_us), ("held", p.held_us), ("thawed", p.thaw_us)];
        for (phase, took) in phases {
            let happened = match phase {
                "held" => record.frozen_at.is_some() && !failed,
                "thawed" => record.frozen_us.is_some() && (record.frozen_at.is_none() || !failed),
                _ => took > 0,
            };
            if happened {
                line += &format!("   {phase} {}", time(took));
            }
        }
        out += &format!("{}\n", line.trim_end());
        for finding in &w.findings {
            out += &format!("  {:<name_width$}  {}: {}\n", "", finding.level, plain(&finding.text));
        }
    }
    for warning in &record.warnings {
        out += &indented(&format!("! {warning}"));
    }
    for fault in record.workloads.iter().flat_map(|w| &w.faults).chain(&record.faults) {
        out += &indented(&format!("✘ {fault}"));
    }
    out.push('\n');
    if let Some(standstill) = record.standstill_us {
        let skew = record.skew_us.map(|us| format!(", {} from the first to the last", time(us))).unwrap_or_default();
        out += &format!("  standstill {} of {} s{skew}\n", time(standstill), record.timeout_s);
    }
    if record.exit == Exit::NotThawed {
        out += "  ✘ A THAW FAILED: SOMETHING MAY STILL STAND STILL. Run  stillpoint recover\n";
    } else if record.frozen_at.is_none() && record.verdict == Verdict::Failed {
        out += "  ✘ nothing may be snapshotted, and nothing is frozen\n";
        // Those that failed have said so above.
        for w in record.workloads.iter().filter(|w| count > 1 && w.faults.is_empty()) {
            out += &format!("    {:<name_width$}  {}\n", w.name, plain(w.reason.as_deref().unwrap_or_default()));
        }
    } else {
        let failed = record.exit == Exit::CommandFailed;
        if failed {
            let how = record.command.as_deref().unwrap_or("nobody knows how");
            out +=
                &format!("  ✘ THE COMMAND FAILED ({how}): there may be no snapshot. What it would have been worth:\n");
        }
        let mark = match record.verdict {
            _ if failed => "·",
            Verdict::ApplicationConsistent => "✔",
            _ => "✘",
        };
        let kind = record.kind.map(|k| format!(" ({k})")).unwrap_or_default();
        out += &format!("  {mark} {}{kind}\n", record.verdict);
        for w in &record.workloads {
            let point: Vec<_> = w.point.iter().map(|p| plain(&format!("{} {}", p.name, p.value))).collect();
            let words = match &w.reason {
                Some(reason) => {
                    let number = w.azure.map(|n| format!(" (Azure: {n})")).unwrap_or_default();
                    format!("{}: {}{number}", w.verdict, plain(reason))
                }
                // Of one alone the line above says it.
                None if count == 1 => point.join(", "),
                None => {
                    let kind = w.kind.map(|k| format!(" ({k})")).unwrap_or_default();
                    std::iter::once(format!("{}{kind}", w.verdict)).chain(point).collect::<Vec<_>>().join(", ")
                }
            };
            if !words.is_empty() {
                out += &format!("    {:<name_width$}  {words}\n", w.name);
            }
            if let Some(on) = &w.untried {
                out += &format!("    {:<name_width$}  UNTRIED ON A REAL SERVER: {}\n", w.name, plain(on));
            }
        }
    }
    // Where nothing was sent that freezes, there was nothing to thaw.
    let was_frozen = (record.frozen_us.is_some() || count == 0) && record.verdict != Verdict::ApplicationConsistent;
    if let (Some(by), true) = (&record.released_by, was_frozen) {
        out += &format!("  thawed by {by}\n");
    }
    match &record.head {
        Some(head) => out += &format!("  record  {}  head {}…\n", record.cycle, head.get(..12).unwrap_or(head)),
        None => out += &format!("  record  {}  its head is not known: not written yet, or not at all\n", record.cycle),
    }
    if let (Some(command), true) = (&record.command, record.exit != Exit::CommandFailed) {
        out += &format!("  the command: {command}\n");
    }
    out
}

/// A replica is called so: of another server nobody asks.
pub fn replica(workload: &WorkloadRecord) -> &'static str {
    if workload.role == Some(Role::Replica) { ", a replica" } else { "" }
}

/// Each line two columns further in.
pub fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Microseconds for people.
pub fn time(us: u64) -> String {
    let d = Duration::from_micros(us);
    if us < 10_000 {
        format!("{:.1} ms", d.as_secs_f64() * 1e3)
    } else if us < 10_000_000 {
        format!("{:.0} ms", d.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", d.as_secs_f64())
    }
}
