//! `events`: print the messaging channel.

use std::io::{BufRead, BufReader, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify;

use super::Context;
use crate::fault::Exit;

/// How long to wait before looking again, whatever is heard of the folder.
const AGAIN: Duration = Duration::from_millis(100);

pub fn events(context: &Context, follow: bool) -> Exit {
    let run = &context.places.run;
    let path = run.join("events.sock");
    let mut appears = None;
    if follow && !run.is_dir() {
        // Who listens before anything was ever frozen hears the first cycle, too. Where it cannot be made, it is waited for.
        let _ = context.places.make();
    }
    loop {
        // Before the look at the socket: what appears after it is heard.
        if follow && appears.is_none() {
            appears = watch(run);
        }
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
        wait(appears.as_ref());
    }
}

/// Hears of what appears in a folder. A cycle can be over before somebody who looks ten times a second has looked once.
fn watch(folder: &Path) -> Option<OwnedFd> {
    let heard = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    inotify::add_watch(&heard, folder, inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO).ok()?;
    Some(heard)
}

fn wait(appears: Option<&OwnedFd>) {
    let Some(heard) = appears else { return std::thread::sleep(AGAIN) };
    let longest = Timespec { tv_sec: 0, tv_nsec: i64::from(AGAIN.subsec_nanos()) };
    let _ = poll(&mut [PollFd::new(heard, PollFlags::IN)], Some(&longest));
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(heard, &mut buffer);
    while reader.next().is_ok() {}
}
