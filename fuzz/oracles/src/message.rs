//! What an engine sends: whatever its bytes. And where the names in it may lead.

use std::fmt::Debug;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::unistd::{Uid, User};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stillpoint::broker::state::StateFolder;
use stillpoint::config::{self, Workload};
use stillpoint_contract::message::{self, FromEngine, Outcome, Request, ToEngine, Value};
use tempfile::TempDir;

/// The most memory for one byte on the wire: a NULL is one byte there, and a [`Value`] here.
const MEMORY_PER_BYTE: usize = 48;

/// As the body of a frame, both ways:
///
/// - it is refused, or it is a message that, framed and read again, is the same: by the body and by the frame;
/// - bytes behind it, a frame cut short and a frame longer than its message are refused;
/// - a message needs no more memory than a fixed multiple of its bytes.
///
/// As a stream: reading frames ends, and a length above the limit is refused before there is room for it. (The keeper's
/// own limit, [`message::LONGEST_FROM_ENGINE`], comes before that.)
///
/// A state file that it names, in a folder where others have put files and links: what is read was put there before, what
/// is put is one plain file with the workload's prefix, and all else stays as it is.
pub fn check(bytes: &[u8]) {
    if let Some(said) = comes_back::<FromEngine>(bytes) {
        assert!(memory(&said) <= 256 + bytes.len() * MEMORY_PER_BYTE, "{} bytes of {}", memory(&said), bytes.len());
        if let FromEngine::Request(request) = &said {
            stays_in_its_folder(request);
        }
    }
    comes_back::<ToEngine>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        stays_in_its_folder(&Request::Get { name: text.into() });
    }
    let mut stream = bytes;
    let fits = |s: &[u8]| s.first_chunk().is_none_or(|head| length(*head) <= message::LONGEST_FROM_ENGINE);
    while fits(stream) && matches!(message::read::<FromEngine>(&mut stream), Ok(Some(_))) {}
    if let Some(head) = bytes.first_chunk() {
        assert_eq!(message::length(*head).is_ok(), length(*head) <= message::LONGEST as usize);
    }
}

fn length(head: [u8; 4]) -> usize {
    u32::from_le_bytes(head) as usize
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

/// A folder for state, and what others put beside and into it.
struct Place {
    whole: TempDir,
    state: StateFolder,
}

const OTHERS: [&str; 5] =
    ["outside", "ipc/stillpoint.other.a", "ipc/stillpoint.w.recovery-point.json", "ipc/a", "ipc/.hidden"];

fn place() -> Place {
    let whole = tempfile::tempdir().unwrap();
    let ipc = whole.path().join("ipc");
    std::fs::create_dir(&ipc).unwrap();
    for other in OTHERS {
        std::fs::write(whole.path().join(other), "of others").unwrap();
    }
    plant(&ipc);
    let me = User::from_uid(Uid::effective()).unwrap().unwrap().name;
    let text = format!("[workload w]\nworkload_name = w\nlinux_user = {me}\n");
    let mut read = config::parse(Path::new("workload.conf"), text.into_bytes(), false).unwrap();
    let workload = Workload { ipc_folder: Some(ipc.canonicalize().unwrap()), ..read.workloads.remove(0) };
    Place { whole, state: StateFolder::open(&workload, 4).unwrap().unwrap() }
}

/// Puts the links there that are not.
fn plant(ipc: &Path) {
    for (name, to) in [("stillpoint.w.link", "../outside"), ("stillpoint.w.l", "a")] {
        let _ = symlink(to, ipc.join(name));
    }
}

fn stays_in_its_folder(request: &Request) {
    thread_local!(static PLACE: Place = place());
    PLACE.with(|Place { whole, state }| {
        let ipc = whole.path().join("ipc");
        match request {
            Request::Get { name } => return assert!(!matches!(state.get(name), Ok(Some(_))), "{name:?} was never put"),
            Request::Remove { name } => drop(state.remove(name)),
            Request::Put { name, content } if state.put(name, content).is_ok() => {
                assert_eq!(state.get(name).as_ref(), Ok(&Some(content.clone())));
                let file = ipc.join(format!("stillpoint.w.{name}"));
                assert!(file.symlink_metadata().unwrap().is_file() && std::fs::read(&file).unwrap() == *content);
                state.remove(name).unwrap();
                assert!(file.symlink_metadata().is_err());
            }
            _ => return,
        }
        plant(&ipc);
        for other in OTHERS {
            let content = std::fs::read(whole.path().join(other));
            assert!(content.is_ok_and(|c| c == b"of others"), "{other} is not as it was: {request:?}");
        }
        let found = |folder: &Path| std::fs::read_dir(folder).unwrap().count();
        assert_eq!((found(whole.path()), found(&ipc)), (2, OTHERS.len() + 1), "{request:?}");
    });
}
