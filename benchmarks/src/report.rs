//! The figures as a table, and as one JSON object.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cycle::Times;
use crate::figures::{Range, heading, milliseconds};
use crate::{Cycle, Measured};

/// How long writers waited under the predecessor: Azure's workload patch (WorkloadPatch.py of azure-linux-extensions,
/// unmodified, its `timeout` at the default of 90 s), measured in August 2026 on Debian 12 with MariaDB 10.11.19, two
/// cores and four writers committing single rows: pre, a snapshot of zero seconds, post. Its kill reaches the shell and
/// not the client, so the lock is held until the timeout however short the snapshot is; both scripts report success.
const PREDECESSOR_US: u64 = 90_008_000;

/// How many times shorter the longest wait must be.
const SHORTER: u64 = 1000;

struct Compared {
    stillpoint: Range,
    minimal: Range,
}

impl Compared {
    fn of(measured: &Measured, figure: impl Fn(&Cycle) -> u64) -> Compared {
        let range = |all: &[Cycle]| Range::of(all.iter().map(&figure));
        Compared { stillpoint: range(&measured.stillpoint), minimal: range(&measured.minimal) }
    }

    fn times(measured: &Measured, figure: impl Fn(&Times) -> u64) -> Compared {
        Compared::of(measured, |c| figure(&c.times))
    }

    fn ratio(&self) -> f64 {
        milliseconds(self.stillpoint.median) / milliseconds(self.minimal.median)
    }

    fn difference(&self) -> f64 {
        milliseconds(self.stillpoint.median) - milliseconds(self.minimal.median)
    }

    /// The most that it may be: a tenth and a millisecond above the minimum.
    fn most(&self) -> f64 {
        1.10 * milliseconds(self.minimal.median) + 1.0
    }

    fn holds(&self) -> bool {
        milliseconds(self.stillpoint.median) <= self.most()
    }

    fn json(&self) -> Value {
        json!({
            "stillpoint": self.stillpoint.json(),
            "minimal": self.minimal.json(),
            "ratio": self.ratio(),
            "difference": self.difference(),
        })
    }

    fn lines(&self, name: &str) -> String {
        format!(
            "{}\n{}\n{}\n    {:<24}{:>27}   {:+.2} ms\n",
            heading(name),
            self.stillpoint.line("Stillpoint"),
            self.minimal.line("minimal"),
            "of the medians",
            format!("× {:.2}", self.ratio()),
            self.difference(),
        )
    }
}

/// How many times shorter than the predecessor's.
fn shorter(us: u64) -> u64 {
    PREDECESSOR_US / us.max(1)
}

/// For people.
pub fn text(all: &[Measured]) -> String {
    let mut out = String::new();
    if let Some(first) = all.first() {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let rounds = first.stillpoint.len();
        let _ = writeln!(
            out,
            "\n  MariaDB {}, {} writers that never stop, {rounds} rounds, {cores} cores. All times in ms.",
            first.database,
            crate::WRITERS
        );
    }
    for measured in all {
        let _ = write!(out, "\n{}", one(measured));
    }
    out + "\n"
}

fn one(measured: &Measured) -> String {
    let mut out = format!("  ── {}\n\n", measured.setting.name);
    let standstill = Compared::times(measured, |t| t.standstill_us);
    let stall = Compared::of(measured, |c| c.stall_us);
    out += &standstill.lines("BLOCK_COMMIT to END");
    out += &Compared::times(measured, |t| t.frozen_us).lines("START to END");
    out += &Compared::of(measured, |c| c.frozen_stall_us).lines("a writer's wait then");
    out += &stall.lines("the longest in the cycle");
    out += &format!("{}\n\n", Range::of(measured.quiet_us.iter().copied()).line("without any freeze"));

    let parts = [
        ("freeze", Compared::times(measured, |t| t.freeze_us)),
        ("hold", Compared::times(measured, |t| t.hold_us)),
        ("thaw", Compared::times(measured, |t| t.thaw_us)),
    ];
    let parts = parts.map(|(name, part)| {
        let [ours, least] = [&part.stillpoint, &part.minimal].map(|r| milliseconds(r.median));
        format!("{name} {ours:.2} beside {least:.2}")
    });
    out += &format!("  where the medians go: {}", parts.join(", "));
    out += &format!(
        "\n\n  {} {:.2} ms, and at most 1.10 × {:.2} + 1 = {:.2} ms: the target {}\n",
        mark(standstill.holds()),
        milliseconds(standstill.stillpoint.median),
        milliseconds(standstill.minimal.median),
        standstill.most(),
        if standstill.holds() { "holds" } else { "does not hold" },
    );
    let times = shorter(stall.stillpoint.median);
    out += &format!(
        "  {} the longest wait is {times} times shorter than the predecessor's 90,008 ms ({} times in the worst cycle)\n",
        mark(times >= SHORTER),
        shorter(stall.stillpoint.max),
    );
    out
}

fn mark(holds: bool) -> char {
    if holds { '✔' } else { '✘' }
}

/// For programs.
pub fn json(all: &[Measured]) -> Value {
    let one = |measured: &Measured| {
        let standstill = Compared::times(measured, |t| t.standstill_us);
        let stall = Compared::of(measured, |c| c.stall_us);
        json!({
            "setting": measured.setting.id,
            "database": measured.database,
            "rounds": measured.stillpoint.len(),
            "writers": crate::WRITERS,
            "commits": measured.commits,
            "statements": measured.statements,
            "standstill": standstill.json(),
            "frozen": Compared::times(measured, |t| t.frozen_us).json(),
            "freeze": Compared::times(measured, |t| t.freeze_us).json(),
            "hold": Compared::times(measured, |t| t.hold_us).json(),
            "thaw": Compared::times(measured, |t| t.thaw_us).json(),
            "stall_of_the_freeze": Compared::of(measured, |c| c.frozen_stall_us).json(),
            "stall": stall.json(),
            "stall_without_freeze": Range::of(measured.quiet_us.iter().copied()).json(),
            "target": { "most": standstill.most(), "holds": standstill.holds() },
            "predecessor": {
                "stall": milliseconds(PREDECESSOR_US),
                "times_shorter": shorter(stall.stillpoint.median),
                "times_shorter_in_the_worst_cycle": shorter(stall.stillpoint.max),
                "holds": shorter(stall.stillpoint.median) >= SHORTER,
            },
        })
    };
    json!({ "unit": "milliseconds", "settings": all.iter().map(one).collect::<Vec<_>>() })
}
