//! The guard itself: a process that waits, and thaws when the keeper does not.
//!
//! It lives in a process session of its own, under systemd in a unit of its own, and watches the keeper by a descriptor
//! that cannot be mistaken for another process. It fires when the keeper is gone, when the keeper lets the deadline pass,
//! or when it is told to. While it waits it neither allocates nor logs nor opens a file; when it fires, it thaws the
//! filesystems first, by descriptors that it has held all along, then the databases, through sessions of its own, and
//! only then writes anything down. A keeper that hangs is killed first: nobody freezes while the guard thaws.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::packet::{AtHand, LONGEST, Packet};
use crate::audit;
use crate::crash::{self, Step};
use crate::cycle::record::Record;
use crate::fault::{Exit, Fault};
use crate::keeper::places::Places;
use crate::keeper::{control, keep_record};
use crate::ledger::file::{self, LedgerFile};
use crate::ledger::{Entry, Filesystem, Ledger, Line, Undo};
use crate::recover::{Living, take_all_back};
use crate::sys::freeze::Done;
use crate::sys::scope::{self, Who};
use crate::sys::{boot, freeze, memory};

/// How late the keeper may be with its own deadline before it counts as hanging.
const SLACK: Duration = Duration::from_millis(250);

/// How long opening a session may take, in prepare.
const LOGIN: Duration = Duration::from_secs(10);

/// How long the guard goes on trying what fails. Then it is the next recovery's.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the databases wait for a keeper that was killed and cannot end yet: a thread of its may hang in the kernel.
const BRIEFLY: Duration = Duration::from_secs(1);

/// How long it waits for a keeper that was killed, between two attempts to thaw what that one may be waiting for.
const GLANCE: Duration = Duration::from_millis(5);

/// When it looks again whether something is armed.
const LATER: Duration = Duration::from_secs(60);

/// Room for the ledger's lines, in bytes.
const ROOM: usize = 512 * 1024;

/// What a guard is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// Where everything lies.
    pub places: Places,
    /// The cycle.
    pub cycle: String,
    /// The boot in which it runs.
    pub boot: String,
    /// The keeper.
    pub keeper: i32,
}

/// Why it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    KeeperGone,
    KeeperHangs,
    Told,
}

/// A filesystem of the cycle.
struct Held {
    what: Filesystem,
    folder: File,
    /// Whether the keeper has frozen it, as far as it said.
    frozen: bool,
}

struct Guard {
    start: Start,
    socket: UnixDatagram,
    keeper: OwnedFd,
    timer: boot::Timer,
    runtime: tokio::runtime::Runtime,
    living: Living,
    filesystems: Vec<Held>,
    /// The ledger as it was told, byte for byte.
    lines: Vec<u8>,
    /// Of the question that is answered.
    number: [u8; 4],
}

/// The guard's whole life. The keeper is at the other end of standard input; standard output is the lock, which is held
/// for as long as keeper or guard live.
///
/// # Errors
/// When it cannot even begin.
pub fn guard(start: Start) -> io::Result<Exit> {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    let _ = rustix::process::setsid();
    // Before its clients are started, each in a control group below its own. The keeper looks whether it succeeded.
    let _ = scope::leave_unit(Who::Guard);
    let socket = UnixDatagram::from(io::stdin().as_fd().try_clone_to_owned()?);
    let keeper = Pid::from_raw(start.keeper).ok_or(io::ErrorKind::InvalidInput)?;
    let keeper = pidfd_open(keeper, PidfdFlags::empty())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(86_400))
        .build()?;
    // Touched once, so that it is there.
    let mut lines = vec![b' '; ROOM];
    lines.clear();
    lines.extend_from_slice(file::line(&Ledger::open(&start.cycle, &start.boot).1)?.as_bytes());
    let timer = boot::Timer::new()?;
    let mut guard = Guard {
        start,
        socket,
        keeper,
        timer,
        runtime,
        living: Living::default(),
        filesystems: Vec::new(),
        lines,
        number: [0; 4],
    };
    memory::lock_what_is_used();
    guard.socket.set_nonblocking(true)?;
    guard.wait()
}

impl Guard {
    fn wait(&mut self) -> io::Result<Exit> {
        let mut buffer = vec![0; LONGEST];
        loop {
            let mut watched = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&self.keeper, PollFlags::IN),
                PollFd::new(&self.timer, PollFlags::IN),
            ];
            match poll(&mut watched, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let [_, gone, rang] = watched.map(|w| !w.revents().is_empty());
            // Whatever woke it: what was told before counts.
            while let Ok(length) = self.socket.recv(&mut buffer) {
                if let Some(exit) = self.hear(buffer.get(..length).unwrap_or_default()) {
                    return Ok(exit);
                }
            }
            if gone {
                return Ok(self.fire(Why::KeeperGone));
            }
            if rang {
                // A keeper that has taken everything back may wait for a disk for as long as it likes.
                if self.filesystems.iter().all(|f| !f.frozen) && self.holds_nothing() {
                    self.timer.set(boot::now() + LATER)?;
                } else {
                    return Ok(self.fire(Why::KeeperHangs));
                }
            }
        }
    }

    /// Takes in one datagram. `Some` when the guard's life is over.
    fn hear(&mut self, bytes: &[u8]) -> Option<Exit> {
        // Its number, which stands before the answer, too.
        let (number, bytes) = bytes.split_first_chunk::<4>()?;
        self.number = *number;
        let answer = match Packet::decode(bytes) {
            Some(Packet::AtHand(json)) => self.have_at_hand(json),
            Some(Packet::Armed(line)) => self.note(line),
            Some(Packet::Undone(line)) => {
                let _ = self.note(line);
                return None;
            }
            Some(Packet::Deadline(at)) => {
                let set = self.timer.set(at + SLACK);
                crash::step(Step::GuardArmed);
                set.map_err(|e| e.to_string())
            }
            Some(Packet::Releasing(until)) => {
                let _ = self.timer.set(until);
                return None;
            }
            Some(Packet::Asked) => Ok(()),
            Some(Packet::Freezing(which)) => self.mark(which, true),
            Some(Packet::Thawed(which)) => self.mark(which, false),
            Some(Packet::HandOver) => return Some(self.fire(Why::Told)),
            // The keeper's word alone does not end it.
            Some(Packet::End) if !self.holds_nothing() => return Some(self.fire(Why::Told)),
            Some(Packet::End) => {
                self.agree();
                return Some(Exit::Done);
            }
            None => Err("not understood".into()),
        };
        match answer {
            Ok(()) => self.agree(),
            Err(why) => self.answer(format!("-{why}").as_bytes()),
        }
        None
    }

    /// Allocates nothing: a filesystem may be frozen already while the next one is told.
    fn agree(&self) {
        let [a, b, c, d] = self.number;
        let _ = self.socket.send(&[a, b, c, d, b'+']);
    }

    fn answer(&self, words: &[u8]) {
        let _ = self.socket.send(&[&self.number, words].concat());
    }

    /// In prepare: everything that it will need.
    fn have_at_hand(&mut self, json: &[u8]) -> Result<(), String> {
        let wanted: AtHand = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        for filesystem in &wanted.filesystems {
            let shown = filesystem.path.display();
            let folder = freeze::open(&filesystem.path).map_err(|e| format!("{shown}: {e}"))?;
            if freeze::superblock(&folder).map_err(|e| format!("{shown}: {e}"))? != filesystem.superblock {
                return Err(format!("{shown}: another filesystem is mounted there"));
            }
            self.filesystems.push(Held { what: filesystem.clone(), folder, frozen: false });
        }
        let (runtime, living) = (&self.runtime, &mut self.living);
        runtime.block_on(async {
            for (reach, database) in &wanted.sessions {
                living
                    .add(reach, database.as_deref(), Instant::now() + LOGIN)
                    .await
                    .map_err(|e| format!("{}: {e}", reach.workload))?;
            }
            // The thread that thaws, and the code that takes back, are there from now on.
            let _ = tokio::task::spawn_blocking(|| ()).await;
            take_all_back(&mut Ledger::default(), true, living, Duration::ZERO, |_| ()).await;
            Ok(())
        })
    }

    fn note(&mut self, line: &[u8]) -> Result<(), String> {
        if self.lines.len() + line.len() > ROOM {
            return Err("the ledger is longer than the guard has room for".into());
        }
        self.lines.extend_from_slice(line);
        Ok(())
    }

    fn mark(&mut self, which: u8, frozen: bool) -> Result<(), String> {
        self.filesystems.get_mut(usize::from(which)).ok_or("no such filesystem")?.frozen = frozen;
        Ok(())
    }

    fn holds_nothing(&self) -> bool {
        file::replay(&self.lines).is_ok_and(|l| l.is_none_or(|l| l.armed().next().is_none()))
    }

    /// Thaws everything.
    fn fire(&mut self, why: Why) -> Exit {
        if why == Why::KeeperHangs {
            let _ = pidfd_send_signal(&self.keeper, Signal::KILL);
        }
        crash::step(Step::GuardFires);
        let settled = self.thaw_filesystems(why == Why::Told, BRIEFLY);
        crash::step(Step::GuardThawedFilesystems);
        let mut ledger = match file::replay(&self.lines) {
            Ok(Some(ledger)) => ledger,
            // It was told nothing but whole lines; what it cannot read, recovery may.
            Ok(None) | Err(_) => return Exit::NotThawed,
        };
        let armed: Vec<Entry> = ledger.armed().cloned().collect();
        let was_armed = !armed.is_empty();
        let (mut done, mut closing) = self.disarm_filesystems(&mut ledger);
        crash::step(Step::GuardUndoing);
        let (runtime, living) = (&self.runtime, &mut self.living);
        let (taken_back, faults) =
            runtime.block_on(take_all_back(&mut ledger, true, living, PATIENCE, |line| closing.push(line.clone())));
        done.extend(taken_back);
        if !settled {
            self.thaw_filesystems(false, PATIENCE);
        }
        crash::step(Step::GuardUndone);
        let living = std::mem::take(&mut self.living);
        self.runtime.block_on(living.close());
        if why == Why::Told {
            // The keeper writes: two who write to one ledger would cut each other's lines.
            let still: Vec<u32> = ledger.armed().map(|e| e.number).collect();
            self.answer(format!("+{}", serde_json::json!(still)).as_bytes());
        } else {
            // What the keeper had taken back, and could not write any more.
            closing.extend(ledger.undone().map(|(e, how)| Line::Undone { number: e.number, how: how.clone() }));
            // From here on a disk may be touched. The record comes first: once the ledger is closed, it is asked for. A
            // keeper that died after its verdict was written down has said all that there is to say.
            if was_armed || !self.start.places.record(&self.start.cycle).exists() {
                let undos = audit::undos(&armed, &closing, audit::Who::Guard);
                self.leave_a_record(why, was_armed, &done, &undos, faults.clone());
            }
            self.write(&closing);
            control::end(&self.start.places);
        }
        crash::step(Step::GuardClosed);
        if faults.is_empty() { Exit::Done } else { Exit::NotThawed }
    }

    /// Closes the ledger, where the file does not say so already. A line that cannot be written only means that the same is
    /// taken back once more.
    fn write(&self, closing: &[Line]) {
        let path = self.start.places.ledger();
        let (Ok(Some(left)), Ok(mut file)) = (file::read(&path), LedgerFile::reopen(&path)) else { return };
        let is_armed = |n: u32| left.armed().any(|e| e.number == n);
        for line in closing.iter().filter(|l| matches!(l, Line::Undone { number, .. } if is_armed(*number))) {
            let _ = file.append(line, false);
        }
    }

    /// Until none is frozen and nobody is left who could freeze one: a keeper that was killed may still be on its way
    /// into a freeze, and may wait itself for what is frozen. False when the keeper was still dying after `longest`: the
    /// databases do not wait for that.
    ///
    /// What was thawed once is not thawed again: by then somebody else may have frozen it.
    fn thaw_filesystems(&mut self, keeper_lives: bool, longest: Duration) -> bool {
        let end = boot::now() + longest;
        loop {
            let glance = Timespec { tv_sec: 0, tv_nsec: GLANCE.subsec_nanos().into() };
            let mut keeper = [PollFd::new(&self.keeper, PollFlags::IN)];
            let gone = keeper_lives || poll(&mut keeper, Some(&glance)).is_ok_and(|n| n > 0);
            for held in self.filesystems.iter_mut().rev().filter(|f| f.frozen) {
                let thawed = freeze::thaw(&held.folder);
                held.frozen = !(matches!(thawed, Ok(Done::Changed)) || gone && thawed.is_ok());
            }
            if gone || self.filesystems.iter().all(|f| !f.frozen) {
                return true;
            }
            if boot::now() > end {
                return false;
            }
        }
    }

    /// What is thawed by its descriptor is not thawed again by its path. What is not yet stays armed, and is tried again.
    fn disarm_filesystems(&self, ledger: &mut Ledger) -> (Vec<String>, Vec<Line>) {
        let frozen = |f: &Filesystem| self.filesystems.iter().any(|held| held.frozen && held.what == *f);
        let thawed = |e: &Entry| matches!(&e.undo, Undo::Filesystem(f) if !frozen(f));
        let done = ledger.armed().filter(|e| thawed(e)).map(|e| format!("{} thawed", e.words())).collect();
        (done, ledger.disarm("thawed", thawed))
    }

    /// What the agent is told when it asks for the verdict.
    fn leave_a_record(
        &self,
        why: Why,
        was_armed: bool,
        done: &[String],
        undos: &[audit::Entry],
        mut faults: Vec<Fault>,
    ) {
        let what = match why {
            Why::KeeperHangs => "the keeper let the deadline pass and was ended; the guard took back",
            _ => "the keeper was lost; the guard took back",
        };
        let what = if done.is_empty() { format!("{what} nothing.") } else { format!("{what} {}.", done.join(", ")) };
        let exit = if faults.is_empty() { Exit::Inconsistent } else { Exit::NotThawed };
        let fault = Fault::new("SP-GUARD-001", exit, what);
        let fault = if faults.is_empty() { fault.done("Nothing stands still.") } else { fault };
        faults.push(fault.next("a snapshot of this cycle is not application-consistent: take another"));
        let mut record = Record::of_a_lost_keeper(&self.start.cycle, "the guard", was_armed, faults);
        audit::end_lost(&self.start.places.records(), audit::Who::Guard, undos, &mut record);
        let _ = keep_record(&self.start.places, &record);
    }
}
