//! The control: without a freeze, the comparison must tell the copy apart. A test that cannot fail proves nothing.
//!
//! Each case pretends a freeze, with the same writers, the same volume and the same comparison as the real tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Instant;

use stillpoint_tests::comparison::{Window, compare};
use stillpoint_tests::mariadb::{self, MariaDb};
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::volume::Volume;
use stillpoint_tests::writers::Writers;

/// "Frozen" is said, the writers get on, and only then the copy is taken.
fn pretended(writers: &Writers, copy: impl FnOnce()) -> Window {
    writers.get_on(20);
    let frozen = Instant::now();
    writers.get_on(5);
    copy();
    let thaw_asked = Instant::now();
    writers.get_on(5);
    Window { frozen, thaw_asked }
}

#[test]
fn mariadb_without_a_freeze_is_told_apart() {
    let test = "mariadb_without_a_freeze_is_told_apart";
    let Some(volume) = Volume::make(test) else { return };
    let Some(()) = mariadb::fresh(test, &volume.data().join("mysql")) else { return };
    let server = MariaDb::on(&volume.data().join("mysql"), &[]);
    server.make_table();
    let writers = server.writers(4);
    let mut image = None;
    let window = pretended(&writers, || {
        image = Some(volume.block_image());
        volume.snapshot("copy");
    });
    let log = writers.stop();
    drop(server);
    let second = MariaDb::on(&volume.data().with_file_name("copy").join("mysql"), &[]);
    let in_snapshot = compare(&log, window, &second.rows());
    drop(second);
    assert!(!in_snapshot.extra.is_empty() && !in_snapshot.moved.is_empty(), "not told apart: {in_snapshot}");

    let volume = volume.replaced_by(image.expect("it was taken"));
    // What was never synced can be too broken to be opened at all: that is told apart, too.
    let Ok(third) = MariaDb::try_on(&volume.data().join("mysql"), &[]) else { return };
    let in_image = compare(&log, window, &third.rows());
    assert!(!in_image.extra.is_empty(), "not told apart: {in_image}");
    // InnoDB flushes at each commit: what was acknowledged is there all the same.
    assert!(in_image.missing.is_empty() && in_image.torn.is_empty(), "{in_image}");
}

#[test]
fn sqlite_without_a_freeze_is_told_apart() {
    let test = "sqlite_without_a_freeze_is_told_apart";
    let Some(volume) = Volume::make(test) else { return };
    let file = volume.data().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let writers = sqlite::writers(&file, 4);
    let window = pretended(&writers, || drop(volume.snapshot("copy")));
    let log = writers.stop();
    let differences = compare(&log, window, &sqlite::rows(&volume.data().with_file_name("copy").join("app.db")));
    assert!(!differences.extra.is_empty() && !differences.moved.is_empty(), "not told apart: {differences}");
}

/// A lock is not durability: SQLite acknowledges a commit before it is on disk, and a block image does not see the page
/// cache.
#[test]
fn sqlite_that_was_locked_and_not_synced_is_told_apart() {
    let test = "sqlite_that_was_locked_and_not_synced_is_told_apart";
    let Some(volume) = Volume::make(test) else { return };
    let file = volume.data().join("app.db");
    sqlite::make(&file, Journal::Wal);
    // The file itself is on disk; the commits that follow are not.
    std::fs::File::open(&file).and_then(|f| f.sync_all()).unwrap();
    let writers = sqlite::writers_without_checkpoints(&file, 4);
    writers.get_on(20);
    let lock = sqlite::lock(&file);
    let frozen = Instant::now();
    let image = volume.block_image();
    let window = Window { frozen, thaw_asked: Instant::now() };
    drop(lock);
    writers.get_on(5);
    let log = writers.stop();
    let volume = volume.replaced_by(image);
    let file = volume.data().join("app.db");
    let rows = sqlite::rows(&file);
    let differences = compare(&log, window, &rows);
    assert!(!differences.missing.is_empty(), "not told apart: {differences}");
    assert!(differences.moved.is_empty() && differences.extra.is_empty(), "the lock held: {differences}");
}
