//! Does what a module must not do. The workload's name says where and what: `freeze-loop`, `thaw-forget`.

#![allow(clippy::panic)]

use std::hint::black_box;
use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The module.
pub struct Hostile;

impl Workload for Hostile {
    fn check(cx: &Check) -> Result<()> {
        if cx.workload() == "check-freeze" {
            // The typed functions would not compile here: this goes round them.
            return stillpoint_sdk::execute(cx, "begin_immediate", cx.databases().first().map(String::as_str), &[]);
        }
        misbehave("check", cx.workload())
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        for database in cx.databases() {
            sql::busy_timeout(cx, database, 800)?;
        }
        if cx.workload().starts_with("prepare-") {
            for database in cx.databases() {
                sql::begin(cx, database)?;
            }
        }
        misbehave("prepare", cx.workload())
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        match cx.workload() {
            "freeze-nothing" => return Ok(RecoveryPoint::new()),
            "freeze-little" => {
                for database in cx.databases() {
                    sql::begin(cx, database)?;
                }
                return Ok(RecoveryPoint::new());
            }
            "freeze-half" => {
                if let Some(first) = cx.databases().first() {
                    sql::begin_immediate(cx, first)?;
                }
                return Ok(RecoveryPoint::new());
            }
            _ => {}
        }
        for database in cx.databases() {
            sql::begin_immediate(cx, database)?;
        }
        match cx.workload() {
            // Answers, and has spent the phase.
            "freeze-late" => while clock::remaining() > std::time::Duration::ZERO {},
            "freeze-undeclared" => {
                stillpoint_sdk::execute(cx, "drop_table", cx.databases().first().map(String::as_str), &[])?;
            }
            "freeze-elsewhere" => stillpoint_sdk::execute(cx, "rollback", Some("/etc/passwd"), &[])?,
            // Says that it is frozen, and is not.
            "freeze-and-thaw" => {
                for database in cx.databases() {
                    sql::rollback(cx, database)?;
                }
            }
            name => misbehave("freeze", name)?,
        }
        Ok(RecoveryPoint::new())
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        if cx.workload() == "thaw-state" {
            state::put("late", b"the agent may hold this filesystem frozen")?;
        }
        misbehave("thaw", cx.workload())?;
        if cx.workload() != "thaw-forget" {
            for database in cx.databases() {
                sql::rollback(cx, database)?;
            }
        }
        Ok(())
    }
}

fn misbehave(phase: &str, name: &str) -> Result<()> {
    let Some(what) = name.strip_prefix(phase).and_then(|rest| rest.strip_prefix('-')) else { return Ok(()) };
    match what {
        "error" => Err(Error::new("this one always fails")),
        "panic" => panic!("this one panics"),
        "trap" => std::process::abort(),
        "loop" => loop {
            black_box(0);
        },
        "memory" => {
            let mut all = Vec::new();
            loop {
                all.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "stack" => {
            black_box(deeper(0));
            Ok(())
        }
        "log" => {
            for i in 0..100_000 {
                log::info(format_args!("{i} {}", "x".repeat(1000)));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    black_box([depth; 64]);
    deeper(depth + 1) + 1
}

stillpoint_sdk::export!(Hostile);
