//! What a person sees.

use std::io::IsTerminal;
use std::time::Duration;

use super::Output;
use crate::cycle::record::{Record, Verdict};
use crate::fault::{Exit, Fault};

/// Says what went wrong; gives the exit code of the worst.
pub fn faults(output: Output, faults: &[Fault]) -> Exit {
    let exit = faults.iter().map(|f| f.exit).max().unwrap_or(Exit::Internal);
    match output {
        Output::Json => println!("{}", serde_json::json!({ "exit": exit, "faults": faults })),
        Output::Text => faults.iter().for_each(|f| eprintln!("✘ {f}")),
    }
    exit
}

/// A line while the cycle is under way.
pub fn progress(output: Output, event: &serde_json::Value) {
    if output == Output::Json || !std::io::stderr().is_terminal() {
        return;
    }
    if let Some(kind) = event["type"].as_str() {
        let kind = kind.trim_start_matches("dev.stillpoint.").trim_end_matches(".v1");
        eprintln!("  {kind}");
    }
}

/// What the cycle did.
pub fn record(output: Output, record: &Record) {
    if output == Output::Json {
        println!("{}", serde_json::to_string(record).unwrap_or_default());
        return;
    }
    let count = record.workloads.len();
    println!(
        "stillpoint · cycle {} · {count} workload{} · at most {} s\n",
        record.cycle,
        plural(count),
        record.timeout_s
    );
    for w in &record.workloads {
        let p = &w.phases;
        println!(
            "  {:<12} {} {}   prepared {}   frozen {}   held {}   thawed {}",
            w.name,
            w.module,
            w.database,
            time(p.prepare_us),
            time(p.freeze_us),
            time(p.held_us),
            time(p.thaw_us)
        );
        for finding in &w.findings {
            println!("  {:<12} {}: {}", "", finding.level, finding.text);
        }
        for fault in &w.faults {
            println!("  ✘ {fault}");
        }
    }
    for fault in &record.faults {
        println!("  ✘ {fault}");
    }
    println!();
    if let Some(standstill) = record.standstill_us {
        println!("  standstill {} of {} s", time(standstill), record.timeout_s);
    }
    if record.exit == Exit::NotThawed {
        println!("  ✘ A THAW FAILED: SOMETHING MAY STILL STAND STILL. Run  stillpoint recover");
    } else if record.frozen_at.is_none() {
        println!("  ✘ nothing may be snapshotted, and nothing is frozen");
    } else {
        let mark = if record.verdict == Verdict::ApplicationConsistent { "✔" } else { "✘" };
        let kind = record.kind.map(|k| format!(" ({k})")).unwrap_or_default();
        println!("  {mark} {}{kind}", record.verdict);
    }
    for w in &record.workloads {
        if let Some(reason) = &w.reason {
            println!("    {:<10} {}: {reason}", w.name, w.verdict);
        } else if !w.point.is_empty() {
            let point: Vec<_> = w.point.iter().map(|p| format!("{} {}", p.name, p.value)).collect();
            println!("    {:<10} {}", w.name, point.join(", "));
        }
    }
    if let Some(command) = &record.command {
        println!("    command    {command}");
    }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn time(us: u64) -> String {
    let d = Duration::from_micros(us);
    if us < 10_000 {
        format!("{:.1} ms", d.as_secs_f64() * 1e3)
    } else if us < 10_000_000 {
        format!("{:.0} ms", d.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", d.as_secs_f64())
    }
}
