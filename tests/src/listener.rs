//! Who listens to what an installation publishes.

use std::path::PathBuf;
use std::process::Stdio;

use crate::program::KillOnDrop;
use crate::site::Site;
use crate::wait_until;

/// A listener under way. What it hears is a file of the installation's folder.
pub struct Listener {
    command: KillOnDrop,
    heard: PathBuf,
}

impl Site {
    /// From here on somebody listens.
    ///
    /// # Panics
    /// When that cannot be started.
    pub fn listen(&self) -> Listener {
        let heard = self.path("events");
        let mut command = self.command(&["events", "--follow"]);
        command.stdin(Stdio::null()).stdout(std::fs::File::create(&heard).unwrap());
        Listener { command: KillOnDrop(command.spawn().unwrap()), heard }
    }
}

impl Listener {
    /// Waits until an event of this kind is heard, such as `cycle.freeze`.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn until(&self, kind: &str) {
        let kind = format!("dev.stillpoint.{kind}.v1");
        wait_until(&kind, || std::fs::read_to_string(&self.heard).unwrap().contains(&kind));
    }

    /// Waits until the verdict of a cycle is heard, and stops. Gives all that was heard.
    ///
    /// # Panics
    /// When no verdict comes in time.
    pub fn until_the_verdict(mut self) -> String {
        let heard = || std::fs::read_to_string(&self.heard).unwrap();
        let whole = |line: &str| line.contains("dev.stillpoint.cycle.verdict.v1") && line.ends_with('\n');
        wait_until("the verdict is told", || heard().split_inclusive('\n').any(whole));
        let all = heard();
        self.command.kill();
        all
    }
}
