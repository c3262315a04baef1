//! `events`: print the messaging channel.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Context;
use crate::fault::Exit;

pub fn events(context: &Context, follow: bool) -> Exit {
    let path = context.places.run.join("events.sock");
    loop {
        if let Ok(stream) = UnixStream::connect(&path) {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { break };
                if writeln!(std::io::stdout(), "{line}").is_err() {
                    return Exit::Done;
                }
            }
        }
        if !follow {
            return Exit::Done;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
