//! What the processes that hold weigh while everything is frozen and nothing happens.
//!
//! What counts is what would be free without the process (`private`) and its share of what others use as well: together
//! that is PSS. RSS counts what is shared, as the C library and a program that runs twice, in each process anew.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::scene::{Installed, Process};

/// What has just frozen comes to rest.
const SETTLES: Duration = Duration::from_millis(500);

/// The targets of keeper, engine and guard, in MB.
const TARGETS: [(&str, u64); 3] = [("keeper", 12), ("engine", 12), ("guard", 3)];

/// Memory of one process, in KiB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    rss: u64,
    pss: u64,
    private: u64,
    /// Of its address space; only what was used of it is in memory.
    locked: u64,
}

impl Memory {
    fn of(process: &Process) -> Result<Memory> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", process.id));
        let (rollup, status) = (read("smaps_rollup")?, read("status")?);
        let kib = |text: &str, name: &str| {
            let line =
                text.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("there is no {name}"))?;
            anyhow::Ok(line.trim().trim_end_matches(" kB").parse::<u64>()?)
        };
        Ok(Memory {
            rss: kib(&rollup, "Rss:")?,
            pss: kib(&rollup, "Pss:")?,
            private: kib(&rollup, "Private_Clean:")? + kib(&rollup, "Private_Dirty:")?,
            locked: kib(&status, "VmLck:")?,
        })
    }
}

/// The three processes of a cycle of one workload.
pub struct Weighed {
    database: &'static str,
    /// Keeper, engine, guard; each the median by PSS.
    processes: [Memory; 3],
}

/// Weighs them so often, each time in another cycle.
pub fn weigh(site: &Installed<'_>, database: &'static str, times: usize) -> Result<Weighed> {
    eprintln!("weighing: {database}");
    let mut all: [Vec<Memory>; 3] = Default::default();
    for _ in 0..times {
        let processes = site.freeze()?;
        std::thread::sleep(SETTLES);
        for (into, process) in all.iter_mut().zip([&processes.keeper, &processes.engine, &processes.guard]) {
            into.push(Memory::of(process)?);
        }
        let thawed = site.call(&["thaw"]);
        ensure!(thawed.code == Some(0), "thaw ended with {:?}: {}{}", thawed.code, thawed.stdout, thawed.stderr);
        processes.wait_for_their_end();
    }
    let median = |mut of_one: Vec<Memory>| {
        of_one.sort_by_key(|m| m.pss);
        of_one.get(of_one.len() / 2).copied().context("nothing was weighed")
    };
    let [keeper, engine, guard] = all;
    Ok(Weighed { database, processes: [median(keeper)?, median(engine)?, median(guard)?] })
}

/// For people.
pub fn text(all: &[Weighed]) -> String {
    let mut out = format!(
        "  {:<20}{:>8}{:>10}{:>10}{:>10}{:>10}\n",
        "At rest, in MB", "target", "PSS", "private", "RSS", "locked"
    );
    for weighed in all {
        for ((name, target), memory) in TARGETS.iter().zip(&weighed.processes) {
            let [pss, private, rss, locked] = [memory.pss, memory.private, memory.rss, memory.locked].map(megabytes);
            let verdict = match memory.pss.checked_sub(target * 1000 * 1000 / 1024) {
                None | Some(0) => "✔ holds".into(),
                Some(by) => format!("✘ missed by {:.1}", megabytes(by)),
            };
            let name = format!("{}, {name}", weighed.database);
            out +=
                &format!("    {name:<18}{target:>8}{pss:>10.1}{private:>10.1}{rss:>10.1}{locked:>10.1}  {verdict}\n");
        }
    }
    out + "\n  The target is of PSS. Locked is address space: only what was used of it is in memory.\n"
}

/// For programs.
pub fn json(all: &[Weighed]) -> Value {
    let one = |weighed: &Weighed| {
        let processes = TARGETS.iter().zip(&weighed.processes).map(|((name, target), memory)| {
            json!({
                "process": name, "target_mb": target, "holds": megabytes(memory.pss) <= f64::from(u32::try_from(*target).unwrap_or(0)),
                "pss_kib": memory.pss, "private_kib": memory.private, "rss_kib": memory.rss, "locked_kib": memory.locked,
            })
        });
        json!({ "database": weighed.database, "processes": processes.collect::<Vec<_>>() })
    };
    Value::Array(all.iter().map(one).collect())
}

/// KiB as MB.
#[allow(clippy::cast_precision_loss)]
fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1_000_000.0
}
