//! `run`: freeze, run the command, thaw, give the verdict.

use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Context, Output, agent, internal, recover, runtime, screen};
use crate::client::program::is_program;
use crate::cycle::record::Record;
use crate::fault::{Exit, Fault};
use crate::keeper::control::{Ask, Say};
use crate::sys::process;

/// How the snapshot's command ended.
struct CommandEnded {
    well: bool,
    words: String,
}

/// How it ended as a whole.
enum Ended {
    /// Everybody was told.
    Told(Exit),
    /// The keeper is gone without a verdict; the command's end, in words.
    KeeperLost(Option<String>),
}

/// One `run`.
struct Run<'c> {
    context: &'c Context,
    command: &'c [String],
    keeper: UnixStream,
    child: Option<Child>,
    ended: Option<CommandEnded>,
    record: Option<Box<Record>>,
    keeper_is_gone: bool,
    signalled: Option<i32>,
}

pub fn run(context: &Context, command: &[String]) -> Exit {
    let before = recover::cycle_of_ledger(&context.places);
    let ended = match runtime() {
        Ok(runtime) => runtime.block_on(cycle(context, command)),
        Err(fault) => return screen::faults(context.output, &[fault]),
    };
    match ended {
        Ended::Told(exit) => exit,
        // Recovery has a runtime of its own.
        Ended::KeeperLost(words) => recover::lost_keeper(context, &before, words),
    }
}

async fn cycle(context: &Context, command: &[String]) -> Ended {
    // From the first moment on a signal thaws first, and only then reaches the command.
    let failed = |why: &str| Ended::Told(screen::faults(context.output, &[internal(why)]));
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut term), Ok(mut interrupt), Ok(mut hangup)] = kinds.map(signal) else {
        return failed("signals cannot be awaited");
    };
    if let Err(fault) = can_be_started(&command[0]) {
        return Ended::Told(screen::faults(context.output, &[fault]));
    }
    let agent = match agent::start(context, true) {
        Ok(agent) => agent,
        Err(fault) => return Ended::Told(screen::faults(context.output, &[fault])),
    };
    let Ok((keeper, mut says)) = agent.listen() else { return failed("the keeper cannot be heard") };
    let mut run = Run {
        context,
        command,
        keeper,
        child: None,
        ended: None,
        record: None,
        keeper_is_gone: false,
        signalled: None,
    };
    let progress = screen::Progress::new(context.output);
    loop {
        tokio::select! {
            said = hear(&mut says, run.keeper_is_gone) => {
                if !matches!(said, Some(Say::Event(_))) {
                    progress.clear();
                }
                match said {
                    Some(Say::Event(event)) => progress.show(&event),
                    // Said before the keeper heard of the signal: it thaws now.
                    Some(Say::Frozen(_)) if run.signalled.is_some() => {}
                    Some(Say::Frozen(status)) => {
                        progress.frozen(&status);
                        run.begin();
                    }
                    Some(Say::Record(record)) => run.thawed(record),
                    Some(Say::Refused(faults)) => return Ended::Told(screen::faults(context.output, &faults)),
                    Some(Say::Status(_)) => {}
                    None => run.lost(),
                }
            }
            ended = wait(&mut run.child) => run.command_ended(ended),
            s = caught(&mut term, &mut interrupt, &mut hangup) => run.signal(s),
        }
        if run.child.is_none() && (run.record.is_some() || run.keeper_is_gone) {
            return run.finish();
        }
    }
}

impl Run<'_> {
    /// Everything stands still: the command begins.
    fn begin(&mut self) {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        if self.context.output == Output::Json {
            // Standard output is ours: the record alone stands there.
            command.stdout(std::io::stderr());
        }
        match command.spawn() {
            Ok(child) => self.child = Some(child),
            Err(e) => {
                let words = format!("{} could not be started: {e}", self.command[0]);
                self.ended = Some(CommandEnded { well: false, words });
                // There is no snapshot to vouch for.
                agent::ask(&mut self.keeper, Ask::Abandon);
            }
        }
    }

    fn command_ended(&mut self, status: std::io::Result<std::process::ExitStatus>) {
        self.child = None;
        let well = self.signalled.is_none() && status.as_ref().is_ok_and(std::process::ExitStatus::success);
        let words = status.map_or_else(|e| e.to_string(), |s| s.to_string());
        self.ended = Some(CommandEnded { well, words });
        // A command that failed may have cut a snapshot all the same: the verdict is about the standstill.
        agent::ask(&mut self.keeper, if well { Ask::Thaw } else { Ask::CommandFailed });
    }

    fn thawed(&mut self, record: Box<Record>) {
        if self.child.is_some() {
            let by = record.released_by.as_deref().unwrap_or("the keeper");
            screen::say_beside(format_args!("stillpoint · thawed by {by}, before the command has ended"));
        }
        self.record = Some(record);
        self.pass_signal_on();
    }

    fn lost(&mut self) {
        self.keeper_is_gone = true;
        if self.child.is_some() && self.record.is_none() {
            screen::say_beside(
                "stillpoint · the keeper is lost: its guard takes back what it froze, or recovery does once the command has \
                 ended; the command goes on",
            );
        }
        self.pass_signal_on();
    }

    fn signal(&mut self, signal: i32) {
        let again = self.signalled.replace(signal).is_some();
        agent::ask(&mut self.keeper, Ask::Abandon);
        if again || self.record.is_some() || self.keeper_is_gone {
            self.pass_signal_on();
        }
    }

    fn pass_signal_on(&self) {
        let pid = self.child.as_ref().and_then(Child::id);
        if let (Some(signal), Some(pid)) = (self.signalled, pid) {
            process::signal(pid.cast_signed(), signal);
        }
    }

    fn finish(self) -> Ended {
        let words = self.ended.as_ref().map(|e| match self.signalled {
            Some(signal) => format!("{}, after signal {signal}", e.words),
            None => e.words.clone(),
        });
        let Some(mut record) = self.record else { return Ended::KeeperLost(words) };
        if let Some(ended) = &self.ended
            && !ended.well
            && matches!(record.exit, Exit::Done | Exit::Inconsistent)
        {
            record.exit = Exit::CommandFailed;
        }
        record.command = words;
        screen::record(self.context.output, &record);
        Ended::Told(record.exit)
    }
}

/// Before anything is frozen for it.
fn can_be_started(program: &str) -> Result<(), Fault> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let found = program.contains('/') && is_program(Path::new(program))
        || !program.contains('/') && std::env::split_paths(&path).any(|folder| is_program(&folder.join(program)));
    if found {
        return Ok(());
    }
    Err(Fault::new("SP-CLI-003", Exit::CommandFailed, format!("there is no program {program}."))
        .done("Nothing was frozen.")
        .next("correct the command behind  --"))
}

async fn hear(says: &mut UnboundedReceiver<Say>, gone: bool) -> Option<Say> {
    if gone { std::future::pending().await } else { says.recv().await }
}

async fn wait(child: &mut Option<Child>) -> std::io::Result<std::process::ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

async fn caught(term: &mut Signal, interrupt: &mut Signal, hangup: &mut Signal) -> i32 {
    tokio::select! {
        _ = term.recv() => nix::libc::SIGTERM,
        _ = interrupt.recv() => nix::libc::SIGINT,
        _ = hangup.recv() => nix::libc::SIGHUP,
    }
}
