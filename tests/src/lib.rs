//! What the integration tests stand on: private servers, a volume that can be snapshotted, writers that never stop, and
//! the comparison of their log with what a copy holds.
//!
//! Nothing here knows the inside of Stillpoint: the tests call its command, as a backup agent does.

// A test ends at the first thing that is not as it must be, and says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod comparison;
pub mod crash;
pub mod dist;
pub mod fake;
pub mod firebird;
pub mod folder;
pub mod listener;
pub mod loop_mount;
pub mod mariadb;
pub mod missing;
pub mod mysql;
pub mod newer;
pub mod oracle;
pub mod postgres;
pub mod processes;
pub mod program;
pub mod redis;
pub mod reviewer;
pub mod said;
pub mod session;
pub mod site;
pub mod sqlite;
pub mod tmpfs;
pub mod unsigned;
pub mod volume;
pub mod writers;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// The longest that anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A port of this machine that nobody listens to.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    // Below those that the system gives away by itself: it stays free until it is used.
    let any = || 10_000 + u16::try_from(RandomState::new().build_hasher().finish() % 20_000).unwrap();
    std::iter::repeat_with(any).take(1000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Waits until `holds` is true.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {} s for this: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(2));
    }
}
