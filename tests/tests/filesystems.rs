//! Filesystems that Stillpoint freezes, and those that somebody else does, its own among them. Real ones, each behind a
//! loop device.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use stillpoint_tests::fake::FakeServer;
use stillpoint_tests::loop_mount::{Folder, Kind, LoopMount};
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::said::Said;
use stillpoint_tests::site::{Site, recovery_point};
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::tmpfs::Tmpfs;
use stillpoint_tests::wait_until;
use stillpoint_tests::writers::Writers;
use tempfile::TempDir;

/// How late an undo may be on a machine that is busy with other tests. The next bound that could send it is far away.
const LATE: Duration = Duration::from_secs(5);

/// A SQLite database with writers, and Stillpoint configured to freeze it and filesystems.
struct Scene {
    // Its end thaws whatever a test that failed left frozen, so it is the first to go: as a field it stands first, and
    // bound by a pattern last.
    _folder: Folder,
    site: Site,
    writers: Writers,
}

/// The database lies under `parent`, with its `ipc_folder` beside it.
fn scene(parent: &Path, filesystems: &[PathBuf], timeout: u32) -> Scene {
    scene_in(Site::new(), parent, filesystems, timeout)
}

fn scene_in(site: Site, parent: &Path, filesystems: &[PathBuf], timeout: u32) -> Scene {
    let folder = Folder::under(parent);
    let (file, ipc) = (folder.path().join("app.db"), folder.path().join("ipc"));
    std::fs::create_dir(&ipc).unwrap();
    sqlite::make(&file, Journal::Wal);
    site.configure(&configuration(&file, filesystems, timeout));
    let writers = sqlite::writers(&file, 2);
    writers.get_on(10);
    Scene { site, writers, _folder: folder }
}

/// Freezes; gives when the successful attempt began, and when it was over. On a disk that is busy with other tests the
/// kernel may take longer to freeze a filesystem than a short `timeout` leaves: then once more.
fn freeze_in_time(site: &Site) -> (Instant, Instant) {
    for _ in 0..10 {
        let began = Instant::now();
        let said = site.json(&["freeze"]);
        // So that half of its time is left, in which the caller sees that it is frozen.
        if said.code == Some(0) && began.elapsed() < Duration::from_secs(2) {
            return (began, Instant::now());
        }
        assert!(matches!(said.code, Some(0 | 4)), "{}", said.text);
        site.json(&["thaw"]);
        site.wait_for_the_end();
    }
    panic!("the disk is too slow for this test");
}

fn configuration(database: &Path, filesystems: &[PathBuf], timeout: u32) -> String {
    let listed: Vec<String> = filesystems.iter().map(|f| f.display().to_string()).collect();
    format!(
        "[workload]\nworkload_name = sqlite\ndbnames = {}\nipc_folder = {}\ntimeout = {timeout}\nfilesystems = {}\n",
        database.display(),
        database.with_file_name("ipc").display(),
        listed.join(", ")
    )
}

fn elsewhere() -> PathBuf {
    std::env::temp_dir()
}

#[test]
fn they_stand_still_with_the_database_and_run_again() {
    let test = "they_stand_still_with_the_database_and_run_again";
    let (Some(a), Some(b)) = (LoopMount::make(test, Kind::Ext4), LoopMount::make(test, Kind::Xfs)) else { return };
    let Scene { site, writers, _folder } = scene(&a.path(), &[a.path(), b.path()], 60);
    let said = site.freeze();
    let shown = [a.path(), b.path()].map(|p| p.display().to_string());
    for name in shown.iter().map(String::as_str).chain(["sqlite"]) {
        let frozen = said.json["frozen"]["frozen"].as_array().unwrap();
        assert!(frozen.contains(&name.into()), "{name} is named as frozen: {}", said.text);
    }
    assert!(a.is_frozen() && b.is_frozen());
    let point = recovery_point(&_folder.path().join("ipc"), "sqlite");
    assert_eq!(point["frozen"], true, "the recovery point lies inside: {point}");
    let said = site.json(&["thaw"]);
    said.assert_consistent();
    a.gets_on();
    b.gets_on();
    writers.get_on(10);
    assert!(a.takes_writes() && b.takes_writes());
    // The last that was frozen was thawed first, and the database after both.
    let ledger = std::fs::read_to_string(site.path("lib/ledger")).unwrap();
    let numbers = |what: &str| -> Vec<u64> {
        let line = |l: &str| serde_json::from_str::<serde_json::Value>(l.splitn(3, ' ').nth(2)?).ok();
        let lines = ledger.lines().filter_map(line);
        lines.filter_map(|l| l.get(what).and_then(|l| l["number"].as_u64())).collect()
    };
    let (armed, undone) = (numbers("armed"), numbers("undone"));
    assert!(armed.len() >= 3, "{ledger}");
    assert_eq!(undone, armed.into_iter().rev().collect::<Vec<_>>(), "{ledger}");
    site.assert_nothing_is_frozen();
}

#[test]
fn the_guard_thaws_them_when_the_keeper_is_killed() {
    let test = "the_guard_thaws_them_when_the_keeper_is_killed";
    for kind in [Kind::Ext4, Kind::Xfs] {
        let Some(a) = LoopMount::make(test, kind) else { return };
        let Scene { site, writers, _folder } = scene(&a.path(), &[a.path()], 60);
        site.freeze();
        assert!(a.is_frozen());
        site.kill_keeper();
        a.gets_on();
        writers.get_on(10);
        site.wait_for_the_end();
        site.assert_nothing_is_frozen();
        let said = site.json(&["thaw"]);
        assert_eq!((said.code, said.faults()), (Some(5), vec!["SP-GUARD-001".to_owned()]), "{kind:?}: {}", said.text);
        assert!(said.text.contains("FIFREEZE"), "it is told what was taken back: {}", said.text);
    }
}

#[test]
fn recovery_thaws_them_when_keeper_and_guard_are_killed() {
    let test = "recovery_thaws_them_when_keeper_and_guard_are_killed";
    for kind in [Kind::Ext4, Kind::Xfs] {
        let Some(a) = LoopMount::make(test, kind) else { return };
        let Scene { site, writers, _folder } = scene(&a.path(), &[a.path()], 60);
        site.freeze();
        site.kill_keeper_and_guard();
        assert!(a.is_frozen(), "nobody is left who could thaw it");
        let status = site.json(&["status"]);
        assert_eq!(status.code, Some(6), "{}", status.text);
        let said = site.json(&["recover"]);
        assert_eq!((said.code, said.faults()), (Some(5), vec!["SP-CYCLE-011".to_owned()]), "{kind:?}: {}", said.text);
        a.gets_on();
        writers.get_on(10);
        let said = site.json(&["recover"]);
        assert_eq!((said.code, said.json["taken_back"].as_array().map(Vec::len)), (Some(0), Some(0)), "{}", said.text);
        // What somebody else freezes afterwards is theirs.
        assert!(a.freeze());
        let said = site.json(&["recover"]);
        assert_eq!(said.code, Some(0), "{}", said.text);
        assert!(a.is_frozen());
        assert!(a.thaw());
        a.gets_on();
    }
}

#[test]
fn the_guard_thaws_them_when_the_keeper_hangs_past_the_timeout() {
    let test = "the_guard_thaws_them_when_the_keeper_hangs_past_the_timeout";
    for kind in [Kind::Ext4, Kind::Xfs] {
        let Some(a) = LoopMount::make(test, kind) else { return };
        let Scene { site, writers, _folder } = scene(&a.path(), &[a.path()], 4);
        let (began, frozen) = freeze_in_time(&site);
        kill(site.process("keeper"), Signal::SIGSTOP).unwrap();
        assert!(a.is_frozen());
        a.gets_on();
        let (after, held) = (began.elapsed(), frozen.elapsed());
        assert!(after >= Duration::from_millis(3900), "after {after:?}");
        assert!(held < Duration::from_secs(4) + LATE, "after {held:?}");
        writers.get_on(10);
        site.wait_for_the_end();
        let said = site.json(&["thaw"]);
        assert_eq!((said.code, said.faults()), (Some(5), vec!["SP-GUARD-001".to_owned()]), "{kind:?}: {}", said.text);
        site.assert_nothing_is_frozen();
    }
}

#[test]
fn the_timeout_thaws_them() {
    let test = "the_timeout_thaws_them";
    let Some(a) = LoopMount::make(test, Kind::Ext4) else { return };
    let Scene { site, writers, _folder } = scene(&a.path(), &[a.path()], 4);
    freeze_in_time(&site);
    assert!(a.is_frozen());
    a.gets_on();
    writers.get_on(10);
    let said = site.json(&["thaw"]);
    said.assert_crash_consistent();
}

/// A SQLite database on `disk`, which `harm` spoils once everything is prepared, with something left to be written there. Gives
/// how the freeze ended, and whether the database was free again before `help` came.
fn freeze_on_a_bad_disk(disk: &LoopMount, harm: impl FnOnce(), help: impl FnOnce()) -> (Site, Said, bool) {
    let file = disk.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let site = Site::with(&format!(
        "[workload]\nworkload_name = sqlite\ndbnames = {}\nstall_budget = 10\ntimeout = 40\n",
        file.display()
    ));
    // An application: whoever comes last writes to the disk when it goes, and would hang with it.
    let application = sqlite::lock(&file);
    let listener = site.listen();
    let freezing = site.start(&["freeze"]);
    listener.until("cycle.freeze");
    // The first to go: it helps a disk that hangs, also in a test that failed.
    let _thaws = Folder::under(&elsewhere());
    harm();
    application.execute_batch("ROLLBACK").unwrap();
    let ended = freezing.end();
    let free = application.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
    help();
    (site, Said::of(ended), free)
}

/// Writes to the disk below wait.
#[test]
fn a_disk_that_hangs_while_writers_wait_costs_the_stall_budget() {
    let test = "a_disk_that_hangs_while_writers_wait_costs_the_stall_budget";
    let Some(below) = LoopMount::make(test, Kind::Ext4) else { return };
    let Some(disk) = LoopMount::make_under(test, Kind::Ext4, &below.path()) else { return };
    let hang = || {
        assert!(below.freeze());
        std::fs::write(disk.path().join("unwritten"), vec![1; 1 << 20]).unwrap();
    };
    let (site, said, free) = freeze_on_a_bad_disk(&disk, hang, || assert!(below.thaw()));
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("could not be synced: it took too long") && free, "free: {free}, {}", said.text);
    site.wait_for_the_end();
    site.assert_nothing_is_frozen();
    site.json(&["run", "--", "true"]).assert_still();
}

/// The disk below has no room for what it was given.
#[test]
fn a_disk_that_fails_while_writers_wait_ends_the_freeze() {
    let test = "a_disk_that_fails_while_writers_wait_ends_the_freeze";
    let folder = tempfile::tempdir().unwrap();
    let Some(_below) = Tmpfs::mount(test, folder.path(), "size=256m") else { return };
    let Some(disk) = LoopMount::make_under(test, Kind::Ext4, folder.path()) else { return };
    let fill = || std::fs::write(disk.path().join("unwritten"), vec![1; 400 << 20]).unwrap();
    let (site, said, free) = freeze_on_a_bad_disk(&disk, fill, || ());
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(
        said.text.contains("could not be synced: ") && !said.text.contains("took too long") && free,
        "free: {free}, {}",
        said.text
    );
    site.wait_for_the_end();
    site.assert_nothing_is_frozen();
}

#[test]
fn one_that_somebody_else_has_frozen_is_left_alone() {
    let test = "one_that_somebody_else_has_frozen_is_left_alone";
    for kind in [Kind::Ext4, Kind::Xfs] {
        let (Some(a), Some(b)) = (LoopMount::make(test, kind), LoopMount::make(test, Kind::Ext4)) else { return };
        let Scene { site, writers, _folder } = scene(&elsewhere(), &[b.path(), a.path()], 60);
        assert!(a.freeze());
        let said = site.json(&["freeze"]);
        assert_eq!(said.code, Some(4), "{}", said.text);
        assert!(said.faults().contains(&"SP-FS-003".to_owned()), "{}", said.text);
        assert!(said.text.contains(&a.path().display().to_string()), "{}", said.text);
        writers.get_on(10);
        assert!(b.takes_writes(), "the one before it is thawed");
        assert!(a.is_frozen(), "it is as it was");
        site.wait_for_the_end();
        site.assert_nothing_is_frozen();
        let said = site.json(&["recover"]);
        assert_eq!(said.code, Some(0), "{}", said.text);
        assert!(a.is_frozen(), "it is as it was after recover, too");
        assert!(a.thaw());
        a.gets_on();
        let said = site.json(&["run", "--", "true"]);
        said.assert_consistent();
    }
}

#[test]
fn one_that_somebody_else_thaws_costs_the_verdict() {
    let test = "one_that_somebody_else_thaws_costs_the_verdict";
    for kind in [Kind::Ext4, Kind::Xfs] {
        let Some(a) = LoopMount::make(test, kind) else { return };
        let Scene { site, writers, _folder } = scene(&a.path(), &[a.path()], 60);
        site.freeze();
        assert!(a.thaw());
        let said = site.json(&["thaw"]);
        said.assert_crash_consistent();
        assert!(said.reason().contains("somebody else thawed"), "{}", said.text);
        writers.get_on(10);
        site.assert_nothing_is_frozen();
    }
}

/// `check` and `freeze` refuse it alike, nobody has to wait for it, and nothing is frozen.
fn refused(site: &Site, writers: &Writers, id: &str, words: &[&str], untouched: &[&LoopMount]) {
    for command in ["check", "freeze"] {
        let said = site.json(&[command]);
        assert_eq!((said.code, said.faults()), (Some(2), vec![id.to_owned()]), "{command}: {}", said.text);
        for word in words {
            assert!(said.text.contains(word), "{command} says {word}: {}", said.text);
        }
        assert!(untouched.iter().all(|m| m.takes_writes()), "{command}: {}", said.text);
    }
    writers.get_on(10);
    site.assert_nothing_is_frozen();
}

#[test]
fn one_that_holds_the_state_directory_is_refused() {
    let test = "one_that_holds_the_state_directory_is_refused";
    let Some(m) = LoopMount::make(test, Kind::Ext4) else { return };
    let Scene { site, writers, _folder } = scene_in(Site::under(&m.path()), &elsewhere(), &[m.path()], 60);
    refused(&site, &writers, "SP-FS-002", &["which is ours"], &[&m]);
    // Before it was ever used, too.
    for folder in ["run", "lib/records"] {
        std::fs::remove_dir_all(site.path(folder)).unwrap();
    }
    refused(&site, &writers, "SP-FS-002", &["which is ours"], &[&m]);
}

#[test]
fn one_that_holds_the_program_is_refused() {
    let test = "one_that_holds_the_program_is_refused";
    let Some(m) = LoopMount::make(test, Kind::Ext4) else { return };
    let programs = Site::with_programs_under(&m.path());
    let Scene { site, writers, _folder } = scene(&elsewhere(), &[m.path()], 60);
    for command in ["check", "freeze"] {
        let mut of_mount = Command::new(programs.path("stillpoint"));
        of_mount.arg("--state-dir").arg(site.path("")).args(["--output", "json", command]);
        let said = Said::of(run(&mut of_mount, ""));
        assert_eq!((said.code, said.faults()), (Some(2), vec!["SP-FS-002".to_owned()]), "{command}: {}", said.text);
        assert!(m.takes_writes());
    }
    writers.get_on(10);
    // By a program that lies elsewhere it can be frozen.
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
}

#[test]
fn what_is_no_filesystem_to_freeze_is_refused() {
    let test = "what_is_no_filesystem_to_freeze_is_refused";
    let Some(a) = LoopMount::make(test, Kind::Ext4) else { return };
    let memory = a.mount_beside("memory", &["-t", "tmpfs", "-o", "size=1m"], Some(Path::new("none")));
    let link = a.path().join("link");
    std::os::unix::fs::symlink(a.path(), &link).unwrap();
    let file = a.path().join("file");
    std::fs::write(&file, "").unwrap();
    let absent = a.path().join("absent");
    let scene = scene(&a.path(), &[], 60);
    for (path, why) in [
        (&memory, "tmpfs"),
        (&link, "it is a symbolic link"),
        (&file, "Not a directory"),
        (&absent, "No such file"),
        (&PathBuf::from("/proc"), "proc"),
    ] {
        let database = scene._folder.path().join("app.db");
        // One that could be frozen stands before it: it is not.
        scene.site.configure(&configuration(&database, &[a.path(), path.clone()], 60));
        refused(&scene.site, &scene.writers, "SP-FS-001", &[&path.display().to_string(), why], &[&a]);
    }
}

#[test]
fn the_same_filesystem_twice_is_refused() {
    let test = "the_same_filesystem_twice_is_refused";
    let (Some(a), Some(b)) = (LoopMount::make(test, Kind::Ext4), LoopMount::make(test, Kind::Btrfs)) else { return };
    let bound = a.mount_beside("bound", &["--bind"], Some(&a.path()));
    let folder = a.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    for name in ["one", "two"] {
        succeed(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(b.path().join(name)), "");
    }
    let one = b.mount_beside("one", &["-o", "subvol=one"], None);
    let two = b.mount_beside("two", &["-o", "subvol=two"], None);
    let scene = scene(&elsewhere(), &[], 60);
    let database = scene._folder.path().join("app.db");
    for pair in [[a.path(), folder], [a.path(), bound], [b.path(), b.path().join("one")], [one, two]] {
        scene.site.configure(&configuration(&database, &pair, 60));
        let words = [pair[1].display().to_string(), format!("the same as {}", pair[0].display())];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        refused(&scene.site, &scene.writers, "SP-FS-001", &words, &[&a, &b]);
    }
}

/// All that is ours on one filesystem, programs, state and records, and databases elsewhere: as it is for an agent that
/// freezes everything else once we hold.
struct Outer {
    site: Site,
    writers: Vec<(&'static str, Writers)>,
    fake: FakeServer,
    _mariadb: MariaDb,
    _sqlite: TempDir,
    // Last: everything of ours runs from it.
    mount: LoopMount,
}

fn outer(test: &str, timeout: u32) -> Option<Outer> {
    let mount = LoopMount::make(test, Kind::Ext4)?;
    let mariadb = MariaDb::private(test, &[])?;
    mariadb.make_table();
    let fake = FakeServer::private();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let site = Site::with_programs_under(&mount.path());
    site.install_guest("fake");
    let configuration = [
        format!("[workload sqlite]\nworkload_name = sqlite\ndbnames = {}\ntimeout = {timeout}\n", file.display()),
        format!(
            "[workload mariadb]\nworkload_name = mariadb\ncredString = -u root -S {}\ntimeout = {timeout}\n",
            mariadb.socket().display()
        ),
        // An effect of each lifetime.
        fake.configuration("fake-all", timeout),
    ];
    site.configure(&configuration.join("\n"));
    let writers =
        vec![("sqlite", sqlite::writers(&file, 2)), ("mariadb", mariadb.writers(2)), ("fake", fake.writers(2))];
    writers.iter().for_each(|(_, w)| w.get_on(10));
    Some(Outer { site, writers, fake, _mariadb: mariadb, _sqlite: folder, mount })
}

impl Drop for Outer {
    /// Whatever failed: our own commands must not wait for it.
    fn drop(&mut self) {
        self.mount.thaw();
    }
}

impl Outer {
    /// Freezes, and then everything that is ours stands still, too.
    fn freeze(&self) {
        self.site.freeze();
        self.stop_everything_else();
    }

    fn stop_everything_else(&self) {
        assert!(self.mount.freeze());
        assert!(self.mount.is_frozen());
    }

    /// Waits until every writer gets on.
    fn databases_get_on(&self) {
        self.writers.iter().for_each(|(_, w)| w.get_on(1));
        // What stops no writer is taken back last.
        wait_until("nothing is frozen", || self.fake.frozen().is_empty());
    }

    /// Lets our own files go on, and looks whether everything was ended and written down, and whether it works once more.
    fn thaw_and_go_on(&self, verdict: &str) {
        assert!(self.mount.is_frozen(), "it was frozen all the time");
        assert!(self.mount.thaw());
        self.site.wait_for_the_end();
        self.site.assert_nothing_is_frozen();
        let records = self.site.records();
        assert_eq!(records.len(), 1, "the record was written: {records:?}");
        assert_eq!(records[0]["verdict"], verdict, "{}", records[0]);
        let left: Vec<PathBuf> = std::fs::read_dir(self.site.path("run")).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [self.site.path("run/lock")], "no socket is left");
    }

    fn works_again(&self) {
        let said = self.site.json(&["run", "--", "true"]);
        said.assert_consistent();
        self.databases_get_on();
    }
}

#[test]
fn the_timeout_thaws_databases_while_everything_of_ours_stands_still() {
    let test = "the_timeout_thaws_databases_while_everything_of_ours_stands_still";
    let timeout = 6;
    let Some(outer) = outer(test, timeout) else { return };
    outer.site.freeze();
    let began = Instant::now();
    outer.stop_everything_else();
    outer.databases_get_on();
    let after = began.elapsed();
    assert!(after < Duration::from_secs(timeout.into()) + LATE, "after {after:?}");
    outer.thaw_and_go_on("crash-consistent");
    let said = outer.site.json(&["thaw"]);
    said.assert_crash_consistent();
    // On a machine that is busy with other tests the keeper may be so late that the guard comes before it.
    let guard = said.faults() == ["SP-GUARD-001"] && said.text.contains("let the deadline pass");
    assert!(guard || said.reason().contains("the timeout"), "{}", said.text);
    outer.works_again();
}

#[test]
fn the_guard_thaws_databases_while_everything_of_ours_stands_still() {
    let test = "the_guard_thaws_databases_while_everything_of_ours_stands_still";
    let Some(outer) = outer(test, 60) else { return };
    outer.freeze();
    let began = Instant::now();
    outer.site.kill_keeper();
    outer.databases_get_on();
    let after = began.elapsed();
    assert!(after < LATE, "after {after:?}");
    // The guard cannot write that down, so nobody can say that it did; but nobody is kept waiting.
    let said = Said::of(outer.site.start(&["thaw"]).end_within(Duration::from_secs(30)));
    said.assert_fault(6, "SP-GUARD-003");
    outer.thaw_and_go_on("crash-consistent");
    let said = outer.site.json(&["thaw"]);
    said.assert_fault(5, "SP-GUARD-001");
    outer.works_again();
}

#[test]
fn the_agent_is_answered_while_everything_of_ours_stands_still() {
    let test = "the_agent_is_answered_while_everything_of_ours_stands_still";
    let Some(outer) = outer(test, 60) else { return };
    outer.freeze();
    let began = Instant::now();
    let thaw = outer.site.start(&["thaw"]);
    outer.databases_get_on();
    let after = began.elapsed();
    assert!(after < LATE, "after {after:?}");
    // An agent may wait for this answer before it lets anything else go on.
    let said = Said::of(thaw.end_within(Duration::from_secs(20)));
    said.assert_consistent();
    assert_eq!(said.json["warnings"][0]["id"], "SP-CYCLE-015", "{}", said.text);
    // The keeper still answers, and nobody is told to end it.
    let status = outer.site.json(&["status"]);
    assert_eq!(
        (status.code, &status.json["under_way"]["frozen"]),
        (Some(0), &serde_json::json!([])),
        "{}",
        status.text
    );
    outer.thaw_and_go_on("application-consistent");
    // It was told once.
    let said = outer.site.json(&["thaw"]);
    said.assert_fault(5, "SP-CYCLE-003");
    outer.works_again();
}

/// Everything runs again, and nothing of that is written down: the guard does that.
#[test]
fn a_keeper_that_is_killed_while_it_waits_for_our_own_disk() {
    let test = "a_keeper_that_is_killed_while_it_waits_for_our_own_disk";
    let Some(m) = LoopMount::make(test, Kind::Xfs) else { return };
    let Scene { site, writers, _folder } = scene_in(Site::with_programs_under(&m.path()), &elsewhere(), &[], 60);
    site.freeze();
    assert!(m.freeze());
    let said = Said::of(site.start(&["thaw"]).end_within(Duration::from_secs(20)));
    said.assert_consistent();
    site.kill_keeper();
    writers.get_on(10);
    assert!(m.is_frozen());
    assert!(m.thaw());
    site.wait_for_the_end();
    site.assert_nothing_is_frozen();
    let said = site.json(&["run", "--", "true"]);
    said.assert_consistent();
}

const PAGE: u64 = 4096;

/// Fills a filesystem, and leaves room for this many pages.
fn leave(disk: &Path, pages: u64) {
    let mut ballast = std::fs::File::create(disk.join("ballast")).unwrap();
    while ballast.write_all(&[0; PAGE as usize]).is_ok() {}
    let whole = ballast.metadata().unwrap().len();
    ballast.set_len(whole.next_multiple_of(PAGE) - pages * PAGE).unwrap();
}

#[test]
fn a_full_disk_refuses_the_freeze() {
    let test = "a_full_disk_refuses_the_freeze";
    let disk = tempfile::tempdir().unwrap();
    let Some(_disk) = Tmpfs::mount(test, disk.path(), "size=64m,mode=755") else { return };
    let Scene { site, writers, _folder } = scene_in(Site::under(disk.path()), &elsewhere(), &[], 60);
    // Several databases: their undos fill more than a page, so that the freeze can end half-way.
    let databases: Vec<PathBuf> = (0..6).map(|n| _folder.path().join(format!("{n}.db"))).collect();
    databases.iter().for_each(|d| sqlite::make(d, Journal::Wal));
    let listed: Vec<String> = databases.iter().map(|d| d.display().to_string()).collect();
    let first = _folder.path().join("app.db");
    site.configure(&configuration(&first, &[], 60).replace(".db\n", &format!(".db, {}\n", listed.join(", "))));
    let marker = _folder.path().join("snapshot");
    let mut refused = BTreeSet::new();
    // From no room at all to enough: it ends somewhere else each time.
    for pages in 0.. {
        for place in ["lib/records", "lib/ledger", "lib/unclaimed"] {
            run(Command::new("rm").arg("-rf").arg(site.path(place)), "");
        }
        leave(disk.path(), pages);
        let _ = std::fs::remove_file(&marker);
        let said = site.json(&["run", "--", "touch", &marker.display().to_string()]);
        writers.get_on(5);
        assert_nothing_is_armed_or_full(&site, &said);
        if marker.exists() {
            // It froze, so the undo had been written; what is written afterwards does not change what the snapshot is.
            said.assert_consistent();
            if said.faults().is_empty() {
                break;
            }
            let known = ["SP-CYCLE-008", "SP-CYCLE-014", "SP-AUDIT-001", "SP-TRUST-014"];
            assert!(said.faults().iter().all(|f| known.contains(&f.as_str())), "{}", said.text);
        } else {
            refused.extend(said.faults());
            assert_eq!(said.code, Some(4), "with room for {pages} pages: {}", said.text);
            assert!(said.text.contains("No space left"), "with room for {pages} pages: {}", said.text);
        }
        assert!(pages < 64, "it never works: {}", said.text);
    }
    // Where the ledger could not be begun, and where an undo could not be written.
    assert!(refused.contains("SP-CYCLE-001") && refused.len() > 1, "{refused:?}");
    // And once there is room again, everything works.
    leave(disk.path(), 64);
    site.freeze();
    let said = site.json(&["thaw"]);
    said.assert_consistent();
    site.assert_nothing_is_frozen();
}

/// A ledger that could not be closed says so until `recover` could.
fn assert_nothing_is_armed_or_full(site: &Site, said: &Said) {
    if !said.faults().contains(&"SP-CYCLE-008".to_owned()) {
        site.assert_nothing_is_frozen();
    }
}
