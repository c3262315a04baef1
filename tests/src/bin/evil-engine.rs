//! An engine that somebody has taken over: it speaks the protocol, and abuses it. What it does stands in the file `evil`
//! beside it: a phase and a way, such as `freeze-garbage`. Everything else it does as a good engine would.
//!
//! Of each request that must be refused it logs the answer, which the test reads in the cycle's record.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use stillpoint_contract::message::{
    self, Coordinate, FromEngine, Landlock, Notice, Outcome, Phase, Plan, Reply, Request, Severity, ToEngine, Value,
};

fn main() {
    let own = std::env::current_exe().unwrap();
    let evil = std::fs::read_to_string(own.with_file_name("evil")).unwrap();
    let mut engine = Engine(UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap()));
    let (when, way) = evil.split_once('-').unwrap();
    if when == "start" {
        engine.misbehave(way);
    }
    if evil != "start-unwalled" {
        wall_that_lets_everything_through();
    }
    engine.say(&FromEngine::Walled(Landlock::Whole));
    match engine.hear() {
        Some(ToEngine::Load { .. }) => {}
        Some(ToEngine::Compile { size, .. }) => return engine.compile(size, if when == "compile" { way } else { "" }),
        _ => return,
    }
    if evil == "load-stale" {
        return engine.say(&FromEngine::Stale);
    }
    let talk = FromEngine::Notice(Notice::Log { severity: Severity::Info, text: "nobody asked".into() });
    let ready = [FromEngine::Ready, talk];
    engine.say_at_once(if evil == "loaded-talk" { &ready } else { &ready[..1] });
    while let Some(ToEngine::Call { phase, plan, .. }) = engine.hear() {
        if phase.to_string() == when {
            if way == "asks" {
                engine.ask_for_all(phase, &plan);
            } else if way == "nothing" {
                engine.say(&FromEngine::Done(Ok(Outcome::Point(Vec::new()))));
                continue;
            } else {
                engine.misbehave(way);
            }
        }
        let done = vec![FromEngine::Done(Ok(engine.behave(phase, &plan))); 2];
        engine.say_at_once(if phase.to_string() == when && way == "twice" { &done } else { &done[..1] });
    }
}

/// The kernel calls it a filter, so it looks like a wall.
fn wall_that_lets_everything_through() {
    let none = BTreeMap::from([(100_000, Vec::new())]);
    let target = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(none, SeccompAction::Allow, SeccompAction::Errno(1), target).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

struct Engine(UnixStream);

impl Engine {
    fn say(&mut self, what: &FromEngine) {
        // Whoever is not listened to any more has been found out.
        if message::write(&mut self.0, what).is_err() {
            std::process::exit(1);
        }
    }

    /// In one piece: whoever reads the first finds the others behind it.
    fn say_at_once(&mut self, what: &[FromEngine]) {
        let frames: Vec<u8> = what.iter().flat_map(|w| message::frame(w).unwrap()).collect();
        drop(self.0.write_all(&frames));
    }

    fn hear(&mut self) -> Option<ToEngine> {
        message::read(&mut self.0).ok().flatten()
    }

    fn ask(&mut self, request: Request) -> Reply {
        self.say(&FromEngine::Request(request));
        match self.hear() {
            Some(ToEngine::Reply(reply)) => reply,
            _ => std::process::exit(1),
        }
    }

    fn run(&mut self, statement: &str, database: Option<&str>, arguments: Vec<Value>) -> Reply {
        self.ask(Request::Run { statement: statement.into(), database: database.map(str::to_owned), arguments })
    }

    /// What it hands over is nothing that it would look at again.
    fn compile(&mut self, component: u64, way: &str) {
        let size = match way {
            "huge" => message::longest_artefact(component) + 1,
            "endless" => u64::MAX,
            _ => 100,
        };
        match way {
            "unfit" => self.say(&FromEngine::Unfit("it says so".into())),
            "ready" => self.say(&FromEngine::Ready),
            "stale" => self.say(&FromEngine::Stale),
            "gone" => {}
            _ => {
                self.say(&FromEngine::Compiled { size, compatibility: [7; 32] });
                // More than was announced is not listened to; less is waited for, and found out by its end.
                let sent = match way {
                    "short" => 50,
                    "more" => 1 << 20,
                    _ => 100,
                };
                drop(self.0.write_all(&vec![0x5a; sent]));
            }
        }
    }

    fn log(&mut self, text: &str) {
        self.say(&FromEngine::Notice(Notice::Log { severity: Severity::Info, text: text.into() }));
    }

    fn behave(&mut self, phase: Phase, plan: &Plan) -> Outcome {
        for database in &plan.databases {
            let (statement, arguments) = match phase {
                Phase::Check => ("version", vec![]),
                Phase::Prepare => ("busy_timeout", vec![Value::Integer(800)]),
                Phase::Freeze => ("begin_immediate", vec![]),
                Phase::Thaw => ("rollback", vec![]),
            };
            self.run(statement, Some(database), arguments);
        }
        match phase {
            Phase::Check => Outcome::Report { version: "0".into(), findings: Vec::new() },
            Phase::Prepare | Phase::Thaw => Outcome::Nothing,
            Phase::Freeze => Outcome::Point(Vec::new()),
        }
    }

    /// Asks for what no module may have in this phase, and logs what came back.
    fn ask_for_all(&mut self, phase: Phase, plan: &Plan) {
        let own = plan.databases[0].clone();
        // Another workload's: it lies beside this one's.
        let other = own.replace("a.db", "other.db");
        let mut asked = vec![
            ("undeclared", "DELETE FROM writes", Some(own.as_str()), vec![]),
            ("other workload's", "version", Some(&other), vec![]),
            ("no database", "version", None, vec![]),
            ("root's", "version", Some("/etc/shadow"), vec![]),
            ("argument too many", "version", Some(&own), vec![Value::Null]),
            ("argument of another type", "busy_timeout", Some(&own), vec![Value::Text("1; DELETE FROM writes".into())]),
            ("argument out of range", "busy_timeout", Some(&own), vec![Value::Integer(i64::MAX)]),
        ];
        if phase != Phase::Freeze {
            asked.push(("freeze", "begin_immediate", Some(&own), vec![]));
        }
        if phase != Phase::Prepare && phase != Phase::Thaw {
            asked.push(("change", "checkpoint", Some(&own), vec![]));
        }
        if phase == Phase::Check {
            asked.push(("undo", "rollback", Some(&own), vec![]));
        }
        for (what, statement, database, arguments) in asked {
            let reply = self.run(statement, database, arguments);
            self.log(&format!("asked {what}: {reply:?}"));
        }
        for name in ["../evil", "/tmp/evil", "a/../../evil", "evil\0", "..", ".", "", "EVIL", "recovery-point.json"] {
            let name = || name.to_owned();
            for request in [
                Request::Put { name: name(), content: b"evil".to_vec() },
                Request::Get { name: name() },
                Request::Remove { name: name() },
            ] {
                let reply = self.ask(request);
                self.log(&format!("asked state {:?}: {reply:?}", name()));
            }
        }
        if phase == Phase::Prepare {
            // The test has filled the folder.
            let reply = self.ask(Request::Put { name: "one-more".into(), content: b"x".to_vec() });
            self.log(&format!("asked for a file too many: {reply:?}"));
            self.ask(Request::Put { name: "early0".into(), content: vec![b'x'; 600 << 10] });
            let reply = self.ask(Request::Put { name: "early1".into(), content: vec![b'x'; 600 << 10] });
            self.log(&format!("asked for bytes too many: {reply:?}"));
        }
    }

    fn misbehave(&mut self, way: &str) {
        let log = FromEngine::Notice(Notice::Log { severity: Severity::Info, text: "x".repeat(100) });
        match way {
            "garbage" => drop(self.0.write_all(&[0x5a; 4096])),
            "huge" => drop(self.0.write_all(&u32::MAX.to_le_bytes())),
            // As long as may be, and each byte of it an argument.
            "large" => {
                let arguments = vec![Value::Null; message::LONGEST_FROM_ENGINE - 16];
                drop(self.ask(Request::Run { statement: "version".into(), database: None, arguments }));
            }
            // Of a frame that never ends.
            "part" => {
                drop(self.0.write_all(&[100, 0, 0, 0, 1]));
                self.wait();
            }
            "name" => drop(self.ask(Request::Get { name: "x".repeat(65) })),
            "long" => self.log(&"x".repeat(1 << 20)),
            "point" => {
                let point = vec![Coordinate { name: "gtid".into(), value: "x".repeat(1000) }; 32];
                self.say(&FromEngine::Done(Ok(Outcome::Point(point))));
            }
            "outcome" => {
                let outcome = Outcome::Report { version: "x".into(), findings: Vec::new() };
                self.say(&FromEngine::Done(Ok(outcome)));
            }
            "ready" => self.say(&FromEngine::Ready),
            "walled" => self.say(&FromEngine::Walled(Landlock::Whole)),
            "done" => self.say(&FromEngine::Done(Ok(Outcome::Nothing))),
            "request" => drop(self.ask(Request::Now)),
            "two" => {
                self.say_at_once(&[FromEngine::Request(Request::Now), FromEngine::Request(Request::Now)]);
                self.wait();
            }
            "notices" => loop {
                self.say(&log);
            },
            "requests" => loop {
                self.ask(Request::Now);
            },
            "lists" => loop {
                self.ask(Request::List);
            },
            // Ends connections of a server, one of which is the application's.
            "cancel" => {
                for id in 1..=50 {
                    let reply = self.run("kill", None, vec![Value::Integer(id)]);
                    self.log(&format!("asked to end {id}: {reply:?}"));
                }
            }
            "silent" => self.wait(),
            "gone" => std::process::exit(0),
            _ => {}
        }
    }

    /// Until it is killed, or everybody else is gone.
    fn wait(&mut self) {
        let _ = self.0.read_to_end(&mut Vec::new());
    }
}
