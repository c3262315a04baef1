//! Running a program to its end, within a deadline.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::PATIENCE;

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ended {
    /// All that it wrote.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A process that nobody waits for. Dropped, it is killed.
pub struct KillOnDrop(pub Child);

impl KillOnDrop {
    /// Kills it. It may be gone already.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program that was started and not yet waited for. Dropped, it is killed.
pub struct Running {
    child: KillOnDrop,
    stdout: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
}

/// Starts a program with `input` on its standard input.
///
/// # Panics
/// When it cannot be started.
pub fn start(command: &mut Command, input: &str) -> Running {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?} could not be started: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // It may end without having read everything.
    std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    Running { child: KillOnDrop(child), stdout, stderr }
}

/// Runs a program to its end.
///
/// # Panics
/// When it cannot be started, or takes longer than [`PATIENCE`].
pub fn run(command: &mut Command, input: &str) -> Ended {
    start(command, input).end()
}

/// Runs a program that must succeed, and gives its standard output.
///
/// # Panics
/// When it fails.
pub fn succeed(command: &mut Command, input: &str) -> String {
    let ended = run(command, input);
    assert!(ended.code == Some(0), "{command:?} failed ({:?}):\n{}", ended.code, ended.text());
    ended.stdout
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.id()).expect("a process id"));
        nix::sys::signal::kill(pid, signal).expect("it still runs");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn end(self) -> Ended {
        self.end_within(PATIENCE)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that takes longer.
    pub fn end_within(mut self, patience: Duration) -> Ended {
        let stdout = self.stdout.recv_timeout(patience);
        let stderr = self.stderr.recv_timeout(patience);
        let (Ok(stdout), Ok(stderr)) = (stdout, stderr) else {
            panic!("process {} did not end within {} s", self.id(), patience.as_secs());
        };
        let code = self.child.0.wait().expect("a child of ours").code();
        Ended { code, stdout, stderr }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}
