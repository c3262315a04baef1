//! An installation of the programs that are measured, its processes, and what the fake server received of them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use stillpoint_tests::fake::{FakeServer, Received};
use stillpoint_tests::program::{Ended, run};
use stillpoint_tests::site::Site;
use stillpoint_tests::wait_until;

/// The clock by which the fake server notes what it receives, in microseconds.
pub fn boottime_us() -> Result<i64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    Ok(now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000)
}

/// Stillpoint as it is shipped, installed under a folder of its own.
pub struct Installed<'a> {
    site: Site,
    stillpoint: &'a Path,
}

impl<'a> Installed<'a> {
    /// With this configuration.
    pub fn new(stillpoint: &'a Path, configuration: &str) -> Installed<'a> {
        Installed { site: Site::with(configuration), stillpoint }
    }

    /// Runs the command to its end.
    pub fn call(&self, arguments: &[&str]) -> Ended {
        let call = self.site.command(arguments);
        run(Command::new(self.stillpoint).args(call.get_args()), "")
    }

    /// Freezes; gives the processes that hold.
    pub fn freeze(&self) -> Result<Processes> {
        let ended = self.call(&["--output", "json", "freeze"]);
        ensure!(ended.code == Some(0), "freeze ended with {:?}: {}{}", ended.code, ended.stdout, ended.stderr);
        let folder = self.site.path("").display().to_string();
        let folder = folder.trim_end_matches('/');
        let all = Process::all();
        let one = |role: &str| {
            let is =
                |p: &&Process| p.words.get(1).is_some_and(|w| w == role) && p.words.iter().any(|w| w.contains(folder));
            all.iter().find(is).cloned().with_context(|| format!("there is no {role}"))
        };
        let (keeper, guard) = (one("keeper")?, one("guard")?);
        let is_engine =
            |p: &&Process| p.parent == keeper.id && p.words.first().is_some_and(|w| w.ends_with("stillpoint-engine"));
        let engine = all.iter().find(is_engine).cloned().context("there is no engine")?;
        Ok(Processes { keeper, guard, engine })
    }
}

/// A process.
#[derive(Clone)]
pub struct Process {
    /// Its number.
    pub id: i32,
    parent: i32,
    words: Vec<String>,
}

impl Process {
    fn all() -> Vec<Process> {
        let id = |e: std::fs::DirEntry| e.file_name().to_str()?.parse().ok();
        std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(id).filter_map(Process::of).collect()
    }

    fn of(id: i32) -> Option<Process> {
        let words = std::fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).split('\0').map(str::to_owned).collect();
        let parent = stat(id)?.1;
        Some(Process { id, parent, words })
    }

    /// Sends it a signal.
    pub fn send(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.id), signal)?)
    }

    fn has_ended(&self) -> bool {
        stat(self.id).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
    }
}

/// A process's state and its parent.
fn stat(id: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// Those that hold, in a cycle of one workload.
pub struct Processes {
    /// Holds.
    pub keeper: Process,
    /// Watches.
    pub guard: Process,
    /// Runs the module.
    pub engine: Process,
}

impl Processes {
    /// Until whoever thaws has done so: then nothing disturbs the next round.
    pub fn wait_for_their_end(&self) {
        wait_until("keeper and guard have ended", || self.keeper.has_ended() && self.guard.has_ended());
    }
}

/// A fake server, and Stillpoint installed for it.
pub struct Fake<'a> {
    server: FakeServer,
    /// Its installation.
    pub site: Installed<'a>,
}

impl<'a> Fake<'a> {
    /// The workload's name says what is frozen.
    pub fn new(stillpoint: &'a Path, workload: &str, timeout: u32) -> Result<Fake<'a>> {
        let server = FakeServer::private();
        let site = Installed::new(stillpoint, &server.configuration(workload, timeout));
        site.site.install_guest("fake");
        Ok(Fake { server, site })
    }

    /// What it receives from now on.
    pub fn log(&self) -> Since<'_> {
        Since { server: &self.server, from: self.server.received().len() }
    }
}

/// The statements received since a moment.
pub struct Since<'a> {
    server: &'a FakeServer,
    from: usize,
}

impl Since<'_> {
    /// When this statement was first received, in microseconds.
    pub fn at(&self, text: &str) -> Result<i64> {
        self.first(text, |r| r.text == text)
    }

    /// When one that begins so was first received, in microseconds.
    pub fn first_that_begins(&self, text: &str) -> Result<i64> {
        self.first(text, |r| r.text.starts_with(text))
    }

    fn first(&self, what: &str, is: impl Fn(&Received) -> bool) -> Result<i64> {
        let all = self.server.received();
        let found = all.iter().skip(self.from).find(|r| is(r)).with_context(|| format!("nobody sent {what}"))?;
        Ok(i64::try_from(found.at / 1000)?)
    }
}
