//! `run`: freeze, run the command, thaw, give the verdict.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};

use super::{Context, agent, internal, runtime, screen};
use crate::cycle::record::Record;
use crate::fault::Exit;
use crate::keeper::control::{Ask, Say};
use crate::sys::process;

/// How the command ended.
struct Ended {
    well: bool,
    words: String,
}

pub fn run(context: &Context, command: &[String]) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(fault) => return screen::faults(context.output, &[fault]),
    };
    let mut agent = match agent::start(context, true) {
        Ok(agent) => agent,
        Err(fault) => return screen::faults(context.output, &[fault]),
    };
    let progress = screen::Progress::new(context.output);
    let mut ended = None;
    loop {
        let said = agent.hear();
        if !matches!(said, Some(Say::Event(_))) {
            progress.clear();
        }
        match said {
            Some(Say::Frozen(_)) => {
                ended = Some(runtime.block_on(execute(context, command, &mut agent)));
                agent.ask(Ask::Thaw);
            }
            Some(Say::Record(mut record)) => return finish(context, &mut record, ended),
            Some(Say::Refused(faults)) => return screen::faults(context.output, &faults),
            Some(Say::Event(event)) => progress.show(&event),
            Some(Say::Status(_)) => {}
            None => {
                let fault = internal("the keeper is gone").next("run  stillpoint recover");
                return screen::faults(context.output, &[fault]);
            }
        }
    }
}

fn finish(context: &Context, record: &mut Record, ended: Option<Ended>) -> Exit {
    if let Some(ended) = ended {
        record.command = Some(ended.words);
        if !ended.well && matches!(record.exit, Exit::Done | Exit::Inconsistent) {
            record.exit = Exit::CommandFailed;
        }
    }
    screen::record(context.output, record);
    record.exit
}

/// Runs the command. A signal to us thaws at once, and only then reaches the command.
async fn execute(context: &Context, command: &[String], agent: &mut agent::Agent) -> Ended {
    let failed = |words: String| Ended { well: false, words };
    // Before the command begins. Until here a signal ends this process, and its loss thaws.
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut term), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        return failed("signals cannot be awaited".into());
    };
    let mut child = tokio::process::Command::new(&command[0]);
    child.args(&command[1..]);
    if context.output == super::Output::Json {
        // Standard output is ours: the record alone stands there.
        child.stdout(std::io::stderr());
    }
    let mut child = match child.spawn() {
        Ok(child) => child,
        Err(e) => return failed(format!("{} could not be started: {e}", command[0])),
    };
    let passed = tokio::select! {
        status = child.wait() => return match status {
            Ok(status) => Ended { well: status.success(), words: status.to_string() },
            Err(e) => failed(e.to_string()),
        },
        _ = term.recv() => nix::libc::SIGTERM,
        _ = interrupt.recv() => nix::libc::SIGINT,
        _ = hangup.recv() => nix::libc::SIGHUP,
    };
    if let Ok(mut asker) = agent.asker() {
        let _ = asker.write_all(b"\"thaw\"\n");
    }
    if let Some(pid) = child.id() {
        process::signal(pid.cast_signed(), passed);
    }
    let status = child.wait().await.map_or_else(|e| e.to_string(), |s| s.to_string());
    failed(format!("ended by signal {passed}: {status}"))
}
