//! The engine as a process: what it refuses, and that it never outlives its keeper.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use stillpoint_contract::manifest::Interface;
use stillpoint_contract::message::{self, FromEngine, ToEngine};

fn engine(component: &[u8]) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(component).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_stillpoint-engine"))
        .stdin(OwnedFd::from(theirs))
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (child, ours)
}

/// What it answers to its first order; then it ends.
fn answer(content: &[u8], order: &ToEngine) -> Option<FromEngine> {
    let (mut child, mut keeper) = engine(content);
    let walled = message::read::<FromEngine>(&mut keeper).unwrap();
    assert!(matches!(walled, Some(FromEngine::Walled(_))), "{walled:?}");
    message::write(&mut keeper, order).unwrap();
    let said = message::read::<FromEngine>(&mut keeper).unwrap();
    child.wait().unwrap();
    said
}

fn refused(component: &[u8]) -> String {
    match answer(component, &ToEngine::Compile { size: component.len() as u64, imports: Interface::ALL.to_vec() }) {
        Some(FromEngine::Unfit(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_component_is_unfit() {
    refused(b"");
    refused(b"no component at all");
    // An empty component: it parses, and lacks what it must export.
    assert!(refused(b"\0asm\x0d\0\x01\0").contains("lifecycle"));
    // An empty core module is no component.
    refused(b"\0asm\x01\0\0\0");
}

/// What another engine has compiled is not read: here there is not even a file of that size.
#[test]
fn what_another_engine_has_compiled_is_not_read() {
    let load = ToEngine::Load { size: u64::MAX, memory: 1 << 20, imports: Vec::new(), compatibility: [0; 32] };
    assert_eq!(answer(b"", &load), Some(FromEngine::Stale));
}

#[test]
fn it_ends_when_its_keeper_is_gone() {
    let (mut child, keeper) = engine(b"");
    drop(keeper);
    assert!(!child.wait().unwrap().success());
}
