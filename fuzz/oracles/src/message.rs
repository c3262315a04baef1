//! What an engine sends: whatever its bytes. And what the broker asks of the names in it.

use std::fmt::Debug;
use std::path::{Component, Path};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stillpoint::broker::state::{RECOVERY_POINT, check_name};
use stillpoint_contract::message::{self, FromEngine, Outcome, Request, ToEngine, Value};

/// The most memory for one byte on the wire: a NULL is one byte there, and a [`Value`] here.
const MEMORY_PER_BYTE: usize = 48;

/// As the body of a frame, both ways:
///
/// - it is refused, or it is a message that, framed and read again, is the same: by the body and by the frame;
/// - bytes behind it, a frame cut short and a frame longer than its message are refused;
/// - a message needs no more memory than a fixed multiple of its bytes.
///
/// As a stream: reading frames ends, and refuses a length above the limit before it makes room for it.
///
/// A state file's name that the broker accepts names one plain file below any prefix, and never the host's own.
pub fn check(bytes: &[u8]) {
    if let Some(said) = comes_back::<FromEngine>(bytes) {
        assert!(memory(&said) <= 256 + bytes.len() * MEMORY_PER_BYTE, "{} bytes of {}", memory(&said), bytes.len());
        if let FromEngine::Request(Request::Put { name, .. } | Request::Get { name } | Request::Remove { name }) = &said
        {
            is_a_plain_name(name);
        }
    }
    comes_back::<ToEngine>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        is_a_plain_name(text);
    }
    let mut stream = bytes;
    while let Ok(Some(_)) = message::read::<FromEngine>(&mut stream) {}
    if let Some(head) = bytes.first_chunk() {
        let said = u32::from_le_bytes(*head);
        assert_eq!(message::length(*head).is_ok(), said <= message::LONGEST);
    }
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) -> Option<T> {
    let said: T = message::decode(body).ok()?;
    let frame = message::frame(&said).expect("what fitted into a frame fits again");
    let (head, again) = frame.split_first_chunk::<4>().expect("a frame has a head");
    assert_eq!(message::length(*head).ok(), Some(again.len()));
    // Numbers may be written at greater length than is needed: never at lesser.
    assert!(again.len() <= body.len(), "it grew");
    assert_eq!(message::decode::<T>(again).ok().as_ref(), Some(&said));
    let mut stream = frame.as_slice();
    assert_eq!(message::read::<T>(&mut stream).ok().flatten().as_ref(), Some(&said));
    assert!(stream.is_empty(), "a frame is read to its end");
    assert!(message::decode::<T>(&[again, &[0]].concat()).is_err(), "bytes behind a message");
    let cut = again.len().saturating_sub(1 + usize::from(body.last().copied().unwrap_or_default()) % 16);
    assert!(cut == again.len() || message::decode::<T>(&again[..cut]).is_err(), "half a message");
    assert!(message::read::<T>(&mut &frame[..frame.len().saturating_sub(1)]).is_err(), "half a frame");
    Some(said)
}

/// The bytes that a message holds, without what an allocator adds.
fn memory(said: &FromEngine) -> usize {
    let text = |s: &String| size_of::<String>() + s.len();
    match said {
        FromEngine::Request(Request::Run { arguments, .. }) => arguments
            .iter()
            .map(|v| {
                size_of::<Value>()
                    + match v {
                        Value::Text(t) => t.len(),
                        Value::Bytes(b) => b.len(),
                        Value::Null | Value::Integer(_) => 0,
                    }
            })
            .sum(),
        FromEngine::Done(Ok(Outcome::Point(point))) => point.iter().map(|c| text(&c.name) + text(&c.value)).sum(),
        FromEngine::Done(Ok(Outcome::Report { findings, .. })) => findings.iter().map(|f| text(&f.text) + 8).sum(),
        // The others hold a few texts, and each byte of them once.
        _ => 0,
    }
}

fn is_a_plain_name(name: &str) {
    let good = check_name(name);
    if good.is_err() {
        return;
    }
    assert!(name != RECOVERY_POINT && name.is_ascii() && name.len() <= 64, "{name:?}");
    for prefix in ["", "stillpoint.w.", ".stillpoint.w."] {
        let file = format!("{prefix}{name}");
        let mut parts = Path::new(&file).components();
        assert!(matches!(parts.next(), Some(Component::Normal(part)) if part == file.as_str()), "{file:?}");
        assert!(parts.next().is_none() && !file.ends_with('/'), "{file:?}");
    }
    assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name:?}: hidden, or an option");
}
