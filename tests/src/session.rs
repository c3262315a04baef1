//! A client that stays connected, for what belongs into one session: it holds what its statements hold until it is dropped.

use std::io::{BufRead, BufReader, Lines, Write as _};
use std::process::{ChildStdout, Command, Stdio};

use crate::program::KillOnDrop;

/// An open client.
pub struct Session {
    client: KillOnDrop,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Session {
    /// Starts a client that reads statements, and prints each row as soon as it has it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn open(client: &mut Command) -> Session {
        let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut client = KillOnDrop(client);
        let answers = BufReader::new(client.0.stdout.take().expect("piped")).lines();
        Session { client, answers }
    }

    /// Runs statements, whatever rows they give, and waits for their end.
    ///
    /// # Panics
    /// When one fails.
    pub fn say(&mut self, text: &str) {
        let stdin = self.client.0.stdin.as_mut().expect("piped");
        stdin.write_all(format!("{text}\nSELECT 'said';\n").as_bytes()).unwrap();
        let said = self.answers.by_ref().map_while(Result::ok).any(|line| line == "said");
        assert!(said, "{text} failed");
    }

    /// The client's process id.
    pub fn id(&self) -> u32 {
        self.client.0.id()
    }
}
