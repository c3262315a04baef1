//! What the keeper tells the guard: one datagram each. The first byte says what it is; all but [`Packet::Undone`] and
//! [`Packet::Releasing`] are answered by `+`, or by `-` and words. Behind the `+` for [`Packet::HandOver`] stand, in JSON,
//! the numbers of the entries that are still armed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::reach::Reach;
use crate::ledger::Filesystem;

/// The longest datagram, in bytes.
pub const LONGEST: usize = 64 * 1024;

/// What the guard must have at hand before anything is frozen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtHand {
    /// A session of its own for each: workload and database.
    pub sessions: Vec<(Reach, Option<String>)>,
    /// The filesystems that will be frozen.
    pub filesystems: Vec<Filesystem>,
}

/// One datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Open this: JSON of [`AtHand`].
    AtHand(&'a [u8]),
    /// A line of the ledger that arms: from here on the guard takes it back.
    Armed(&'a [u8]),
    /// A line of the ledger that closes. Not answered.
    Undone(&'a [u8]),
    /// Everything must be thawed at this time since boot.
    Deadline(Duration),
    /// This filesystem of [`AtHand`] is about to be frozen.
    Freezing(u8),
    /// It was thawed.
    Thawed(u8),
    /// The keeper thaws, and must have done so at this time since boot. Not answered: no undo waits for it.
    Releasing(Duration),
    /// Whether the guard has taken in all that it was told before.
    Asked,
    /// The keeper could not: take back what is armed.
    HandOver,
    /// It is over.
    End,
}

impl Packet<'_> {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let with = |tag: u8, body: &[u8]| [&[tag], body].concat();
        let time = |d: &Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        match self {
            Packet::AtHand(json) => with(b'O', json),
            Packet::Armed(line) => with(b'A', line),
            Packet::Undone(line) => with(b'U', line),
            Packet::Deadline(at) => with(b'D', &time(at)),
            Packet::Freezing(which) => with(b'F', &[*which]),
            Packet::Thawed(which) => with(b'T', &[*which]),
            Packet::Releasing(until) => with(b'R', &time(until)),
            Packet::Asked => with(b'Q', &[]),
            Packet::HandOver => with(b'H', &[]),
            Packet::End => with(b'E', &[]),
        }
    }

    /// From the bytes of a datagram. Allocates nothing.
    pub fn decode(bytes: &[u8]) -> Option<Packet<'_>> {
        let (tag, body) = bytes.split_first()?;
        let time = || Some(Duration::from_nanos(u64::from_le_bytes(body.try_into().ok()?)));
        let which = || body.first().copied().filter(|_| body.len() == 1);
        Some(match tag {
            b'O' => Packet::AtHand(body),
            b'A' => Packet::Armed(body),
            b'U' => Packet::Undone(body),
            b'D' => Packet::Deadline(time()?),
            b'F' => Packet::Freezing(which()?),
            b'T' => Packet::Thawed(which()?),
            b'R' => Packet::Releasing(time()?),
            b'Q' => Packet::Asked,
            b'H' => Packet::HandOver,
            b'E' => Packet::End,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_comes_back_as_it_was() {
        let at = Duration::new(3, 7);
        for packet in [
            Packet::AtHand(b"{}"),
            Packet::Armed(b"line"),
            Packet::Undone(b"line"),
            Packet::Deadline(at),
            Packet::Freezing(3),
            Packet::Thawed(3),
            Packet::Releasing(at),
            Packet::Asked,
            Packet::HandOver,
            Packet::End,
        ] {
            assert_eq!(Packet::decode(&packet.encode()), Some(packet));
        }
        assert_eq!(Packet::decode(b""), None);
        assert_eq!(Packet::decode(b"D123"), None);
        assert_eq!(Packet::decode(b"?"), None);
    }
}
