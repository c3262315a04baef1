//! Breaking an installation: the step at which one of its processes stops, and the processes that it consists of.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::processes;
use crate::program::KillOnDrop;
use crate::site::Site;

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    started: u64,
    words: Vec<String>,
}

impl Process {
    fn of(pid: i32) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        // Its first thread may have ended before the others, which still hold its lock and its sockets.
        let others = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |tasks| tasks.count());
        if matches!(*fields.first()?, "Z" | "X") && others <= 1 {
            return None;
        }
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).split('\0').map(str::to_owned).collect();
        Some(Process { pid, parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()?, words })
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        Process::of(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// Kills it. It may be gone already.
    pub fn kill(&self) {
        if self.runs() {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    /// Stops it: it does nothing any more, and can be killed.
    pub fn stop(&self) {
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGSTOP);
    }

    fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }
}

/// What one installation consists of at a moment.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    /// The keeper.
    pub keepers: Vec<Process>,
    /// The guard; two while one takes the place of the other.
    pub guards: Vec<Process>,
    /// The engines.
    pub engines: Vec<Process>,
    /// The database's clients, whoever started them.
    pub clients: Vec<Process>,
    /// `freeze`, `run`, `thaw`, `recover`, `status`.
    pub commands: Vec<Process>,
}

impl Processes {
    /// Those of this installation now.
    pub fn of(site: &Site) -> Processes {
        let folder = site.path("").display().to_string();
        let folder = folder.trim_end_matches('/');
        let mut out = Processes::default();
        let (ours, others): (Vec<Process>, Vec<Process>) = processes::ids()
            .filter_map(Process::of)
            .partition(|p| p.word(0) != "sh" && p.words.iter().any(|w| w.contains(folder)));
        for process in ours {
            match process.word(1) {
                "keeper" => out.keepers.push(process),
                "guard" => out.guards.push(process),
                "--state-dir" => out.commands.push(process),
                _ => {}
            }
        }
        let parents: Vec<i32> = out.keepers.iter().chain(&out.guards).chain(&out.commands).map(|p| p.pid).collect();
        for process in others.into_iter().filter(|p| parents.contains(&p.parent) && p.word(0) != "sh") {
            if process.words.iter().any(|w| w.contains("stillpoint-engine")) {
                out.engines.push(process);
            } else {
                out.clients.push(process);
            }
        }
        out
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Process> {
        [&self.keepers, &self.guards, &self.engines, &self.clients, &self.commands].into_iter().flatten()
    }
}

impl Site {
    /// The next process that comes to this step does that: `stop`, `kill` or `fail`.
    ///
    /// # Panics
    /// When it cannot be asked for.
    pub fn crash_at(&self, step: &str, act: &str) {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path("run")).unwrap();
        let new = self.path("run/crash.asked");
        std::fs::write(&new, format!("{step} {act}")).unwrap();
        std::fs::rename(new, self.path("run/crash")).unwrap();
    }

    /// Who came to the step, once somebody has.
    pub fn reached(&self) -> Option<i32> {
        std::fs::read_to_string(self.path("run/crash.reached")).ok()?.parse().ok()
    }

    /// Whoever stopped goes on.
    pub fn go_on(&self) {
        let _ = std::fs::remove_file(self.path("run/crash.reached"));
        let _ = std::fs::remove_file(self.path("run/crash"));
    }

    /// Starts the command as an agent does, from a shell that writes down how it ended.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn agent(&self, name: &str, arguments: &[&str]) -> Agent {
        let mut all = vec!["--output", "json"];
        all.extend_from_slice(arguments);
        let command = self.command(&all);
        let (said, code) = (self.path(&format!("{name}.said")), self.path(&format!("{name}.code")));
        let errors = self.path(&format!("{name}.errors"));
        let script = "out=$1 err=$2 code=$3; shift 3; \"$@\" >\"$out\" 2>\"$err\" </dev/null; echo $? >\"$code.new\"; \
                      mv \"$code.new\" \"$code\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "agent"]).args([&said, &errors, &code]);
        shell.arg(command.get_program()).args(command.get_args());
        let child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Agent { shell: KillOnDrop(child), said, code, errors, killed: false }
    }
}

/// A shell that called the command. Dropped, it is killed.
pub struct Agent {
    shell: KillOnDrop,
    said: PathBuf,
    code: PathBuf,
    errors: PathBuf,
    killed: bool,
}

impl Agent {
    /// Kills the shell, and not what it called.
    pub fn kill(&mut self) {
        self.shell.kill();
        self.killed = true;
    }

    /// Whether the shell was killed: then nobody writes the exit code down.
    pub fn is_killed(&self) -> bool {
        self.killed
    }

    /// The exit code, once the shell has it; `None` too when the shell was killed.
    pub fn code(&self) -> Option<i32> {
        std::fs::read_to_string(&self.code).ok()?.trim().parse().ok()
    }

    /// What the command wrote to standard output, once that is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(&self.said).ok()?).ok()
    }

    /// All that it wrote.
    pub fn text(&self) -> String {
        let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        format!("{}{}", read(&self.said), read(&self.errors))
    }
}

/// Waits until `holds` is true, or `patience` has passed; gives whether it is.
pub fn soon(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    true
}
