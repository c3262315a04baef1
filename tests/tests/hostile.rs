//! A module may do what it wants: it is contained, what it froze is thawed, what happened is explained, and nothing is
//! claimed that was not so.
//!
//! What each guest does stands in `guests/README.md`, and in the first line of its file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::program::succeed;
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::writers::Writers;
use stillpoint_tests::{dist, missing};
use tempfile::TempDir;

/// How the command must end. The id is one of those in the answer; the words stand in it.
struct Case {
    guest: &'static str,
    exit: i32,
    id: &'static str,
    words: &'static str,
}

const fn case(guest: &'static str, exit: i32, id: &'static str, words: &'static str) -> Case {
    Case { guest, exit, id, words }
}

const BROKEN: &str = "SP-MODULE-001";
const UNFIT: &str = "SP-ENGINE-002";
const NO_FAULT: &str = "";

/// Refused before anything of it runs, or while it is instantiated.
const UNFIT_TO_RUN: [Case; 16] = [
    case("imports-wasi", 3, UNFIT, "imports wasi:cli/environment@0.2.0, which is not offered"),
    case("imports-an-unknown-interface", 3, UNFIT, "stillpoint:workload/secrets@0.1.0"),
    case("imports-another-shape", 3, UNFIT, "stillpoint:workload/clock@0.1.0"),
    case("exports-nothing", 3, UNFIT, "lifecycle"),
    case("exports-another-shape", 3, UNFIT, "check"),
    case("starts-with-a-loop", 3, UNFIT, "interrupt"),
    case("starts-with-a-trap", 3, UNFIT, "unreachable"),
    case("has-a-hundred-memories", 3, UNFIT, "memor"),
    case("has-a-hundred-instances", 3, UNFIT, "instance"),
    case("has-a-hundred-tables", 3, UNFIT, "table"),
    case("has-a-huge-memory", 3, UNFIT, "more memory than it may have"),
    case("has-a-huge-table", 3, UNFIT, "table"),
    case("has-a-memory-of-64-bits", 3, UNFIT, "64"),
    case("has-a-shared-memory", 3, UNFIT, "threads"),
    case("loops-while-it-is-given-its-plan", 4, BROKEN, "ran longer than it may"),
    case("puts-its-plan-nowhere", 4, BROKEN, "check failed: the module trapped"),
];

const IN_CHECK: [Case; 15] = [
    case("calls-itself", 4, BROKEN, "call stack exhausted"),
    case("loops-in-check", 4, BROKEN, "check failed: the module ran longer than it may"),
    case("traps-in-check", 4, BROKEN, "check failed: the module trapped"),
    case("panics-in-check", 4, BROKEN, "this one panics"),
    case("fails-in-check", 4, "SP-DB-014", "check failed: this one always fails"),
    case("freezes-in-check", 4, "SP-DB-014", "no place in check"),
    case("grows-tables", 4, "SP-MODULE-003", "froze nothing"),
    case("answers-no-utf8", 4, BROKEN, "utf-8"),
    case("answers-beyond-its-memory", 4, BROKEN, "out of bounds"),
    case("answers-the-same-text-without-end", 4, BROKEN, "fuel"),
    case("answers-with-an-unknown-level", 4, BROKEN, "check failed: the module trapped"),
    case("traps-after-its-answer", 4, BROKEN, "check failed: the module trapped"),
    case("loops-after-its-answer", 4, BROKEN, "check failed: the module ran longer than it may"),
    case("finds-too-much", 0, NO_FAULT, "99999"),
    case("thaws-in-check", 0, NO_FAULT, "no place in check"),
];

const IN_PREPARE: [Case; 9] = [
    case("loops-in-prepare", 4, BROKEN, "prepare failed: the module ran longer than it may"),
    case("traps-in-prepare", 4, BROKEN, "prepare failed: the module trapped"),
    case("panics-in-prepare", 4, BROKEN, "this one panics"),
    case("fails-in-prepare", 4, "SP-DB-014", "prepare failed: this one always fails"),
    case("freezes-in-prepare", 4, "SP-DB-014", "no place in prepare"),
    case("floods-the-state-with-files", 4, "SP-DB-014", "more than 64 state files"),
    case("floods-the-state-with-empty-files", 4, "SP-DB-014", "more than 64 state files"),
    case("floods-the-state-with-bytes", 4, "SP-DB-014", "more than 1048576 bytes of state"),
    case("thaws-what-it-did-not-freeze", 0, NO_FAULT, "no transaction is active"),
];

/// While writers wait.
const IN_FREEZE: [Case; 16] = [
    case("loops-in-freeze", 4, BROKEN, "freeze failed: the module ran longer than it may"),
    case("traps-in-freeze", 4, BROKEN, "freeze failed: the module trapped"),
    case("panics-in-freeze", 4, BROKEN, "this one panics"),
    case("fails-in-freeze", 4, "SP-DB-014", "freeze failed: this one always fails"),
    case("grows-memory", 4, BROKEN, "more memory than it may have"),
    case("recurses", 4, BROKEN, "freeze failed: the module trapped"),
    // Several walls stand at the same instant, and any of them may be the first.
    case("answers-too-late", 4, "SP-", ""),
    case("answers-at-the-last-moment", 0, NO_FAULT, ""),
    case("freezes-at-the-last-moment", 0, NO_FAULT, ""),
    case("asks-the-time-without-end", 4, BROKEN, "ran longer than it may"),
    case("repeats-a-statement-without-end", 4, "SP-", "freeze failed"),
    case("sends-a-huge-message", 4, "SP-DB-014", "bytes of state"),
    case("fails-with-a-huge-text", 4, "SP-DB-014", "freeze failed: why why"),
    case("gives-a-huge-recovery-point", 4, "SP-DB-014", "longer than 4096 bytes"),
    case("gives-too-many-coordinates", 0, NO_FAULT, "c31"),
    case("freezes-twice", 0, NO_FAULT, "within a transaction"),
];

/// Says that it is frozen, and is not.
const CLAIMS: [Case; 5] = [
    case("freezes-nothing", 4, "SP-MODULE-003", "froze nothing"),
    case("freezes-what-stops-nothing", 4, "SP-MODULE-003", "makes a copy consistent"),
    case("freezes-half", 4, "SP-MODULE-003", "b.db"),
    case("freezes-and-thaws", 4, "SP-MODULE-003", "froze nothing"),
    case("freezes-and-thaws-half", 4, "SP-MODULE-003", "b.db"),
];

/// The copy was whole when it was cut, and the host took back what the module left: nothing is lost by it.
const IN_THAW: [Case; 9] = [
    case("loops-in-thaw", 0, BROKEN, "thaw failed: the module ran longer than it may"),
    case("traps-in-thaw", 0, BROKEN, "thaw failed: the module trapped"),
    case("panics-in-thaw", 0, BROKEN, "this one panics"),
    case("fails-in-thaw", 0, "SP-DB-014", "thaw failed: this one always fails"),
    case("forgets-to-thaw", 0, NO_FAULT, ""),
    case("thaws-half", 0, NO_FAULT, ""),
    case("thaws-in-a-loop", 0, BROKEN, "thaw failed: the module ran longer than it may"),
    case("freezes-in-thaw", 0, NO_FAULT, "no place in thaw"),
    case("writes-state-in-thaw", 0, "SP-DB-014", "not changed in thaw"),
];

/// On a real server.
const ON_MARIADB: [Case; 7] = [
    case("injects-sql-into-mariadb", 0, NO_FAULT, "text: the same"),
    case("cancels-other-sessions", 0, NO_FAULT, "no place in freeze"),
    case("asks-for-secrets", 0, NO_FAULT, "grants"),
    case("loops-while-commits-wait", 4, BROKEN, "freeze failed: the module ran longer than it may"),
    case("traps-while-commits-wait", 4, BROKEN, "freeze failed: the module trapped"),
    case("forgets-to-end-the-stage", 0, NO_FAULT, ""),
    case("stops-ddl-alone", 4, "SP-MODULE-003", "makes a copy consistent"),
];

/// Those that have a test of their own below.
const ALONE: [&str; 11] = [
    "draws-on-the-screen",
    "draws-on-the-screen-and-fails",
    "floods-the-channel",
    "floods-the-log",
    "follows-planted-links",
    "ignores-the-error",
    "injects-sql",
    "leaves-the-state-folder",
    "names-another-workloads-database",
    "passes-wrong-arguments",
    "runs-what-is-not-declared",
];

/// Longer than any phase of these guests may last, the way back with it, on a machine that does other things too.
const STALL: Duration = Duration::from_secs(10);

/// `stall_budget` where the freeze is to end well, on a slow disk too; and where it is waited for until it is over.
const ENOUGH: u32 = 5;
const SHORT: u32 = 1;

/// The module's name in the configuration; its files in `ipc_folder` bear it.
const WORKLOAD: &str = "hostile";

/// Two databases with writers, and one guest installed.
struct Scene {
    // First: what still stands is thawed before the writers are forgotten.
    site: Site,
    writers: Vec<Writers>,
    folder: TempDir,
}

impl Scene {
    fn of(guest: &str) -> Scene {
        Scene::with(guest, ENOUGH)
    }

    fn with(guest: &str, stall_budget: u32) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("ipc")).unwrap();
        let files = ["a.db", "b.db"].map(|f| folder.path().join(f));
        for file in &files {
            sqlite::make(file, Journal::Wal);
            sqlite::lock(file)
                .execute_batch("CREATE TABLE canary (alive TEXT); INSERT INTO canary VALUES ('yes'); COMMIT")
                .unwrap();
        }
        let site = Site::with(&format!(
            "[workload {WORKLOAD}]\nworkload_name = hostile\ndbnames = {}, {}\nipc_folder = {}\n\
             stall_budget = {stall_budget}\ntimeout = 60\n",
            files[0].display(),
            files[1].display(),
            folder.path().join("ipc").display()
        ));
        site.install_guest(guest);
        let writers: Vec<Writers> = files.iter().map(|f| sqlite::writers(f, 1)).collect();
        writers.iter().for_each(|w| w.get_on(5));
        Scene { site, writers, folder }
    }

    fn path(&self, under: &str) -> PathBuf {
        self.folder.path().join(under)
    }

    /// `run`, with a command that looks twice whether anything is written.
    fn run(&self) -> Said {
        self.site.json(&["run", "--", "sh", "-c", &self.look()])
    }

    fn look(&self) -> String {
        let count = |to: &str| {
            let one = |f: &str| format!("sqlite3 {} 'SELECT COUNT(*) FROM writes'", self.path(f).display());
            format!("({}; {}) > {}", one("a.db"), one("b.db"), self.path(to).display())
        };
        format!("{} && sleep 0.1 && {}", count("before"), count("after"))
    }

    /// Whether the snapshot was begun.
    fn ran(&self) -> bool {
        self.path("before").exists()
    }

    /// Whether nothing was written while it was.
    fn stood_still(&self) -> bool {
        let [before, after] = ["before", "after"].map(|f| std::fs::read_to_string(self.path(f)).unwrap());
        assert_eq!(before.lines().count(), 2, "both were counted: {before}");
        before == after
    }

    /// Whatever the guest did: the writers get on, they waited no longer than they may, they saw no error, and nothing
    /// is under way.
    fn ends_well(self, guest: &str) {
        self.writers.iter().for_each(|w| w.get_on(5));
        self.site.assert_nothing_is_frozen();
        for log in self.writers.into_iter().map(Writers::stop) {
            assert!(log.errors.is_empty(), "{guest}: a writer saw {:?}", log.errors);
            assert!(log.longest_gap() < STALL, "{guest}: a writer waited {:?}", log.longest_gap());
        }
        for file in ["a.db", "b.db"].map(|f| self.folder.path().join(f)) {
            sqlite::rows(&file);
            let tables = "SELECT group_concat(name) || (SELECT group_concat(alive) FROM canary) FROM sqlite_schema";
            let tables: String = sqlite::lock(&file).query_row(tables, (), |row| row.get(0)).unwrap();
            assert_eq!(tables, "writes,canaryyes", "{guest}: the canary lives");
        }
    }
}

/// The exit code, the fault and the words are as they must be, and the verdict goes with them.
fn explained(case: &Case, said: &Said, ran: bool) {
    let guest = case.guest;
    assert_eq!(said.code, Some(case.exit), "{guest}: {}", said.text);
    let faults = said.faults();
    let known = if case.id.is_empty() { faults.is_empty() } else { faults.iter().any(|f| f.starts_with(case.id)) };
    assert!(known, "{guest}: {faults:?}, and not {:?}: {}", case.id, said.text);
    // Not in its own name.
    let text = said.text.replace(guest, "");
    assert!(text.contains(case.words), "{guest}: {:?} is not in {}", case.words, said.text);
    // The application's writers, who hold locks all the time, are not to blame for what a module does.
    assert!(!said.text.contains("are left alone"), "{guest}: {}", said.text);
    assert!(said.text.len() < 1 << 19, "{guest}: {} bytes were kept", said.text.len());
    assert_eq!(ran, case.exit == 0, "{guest}: a snapshot is begun exactly when it is worth something");
    let verdict = if case.exit == 0 { "application-consistent" } else { "failed" };
    assert_eq!(said.json["verdict"], verdict, "{guest}: {}", said.text);
}

fn contained(case: &Case) {
    let scene = Scene::with(case.guest, if case.exit == 0 { ENOUGH } else { SHORT });
    if case.words.contains("64 state files") {
        // Each is synced: nearly as many as may be are there.
        let early = |i| scene.path("ipc").join(format!("stillpoint.{WORKLOAD}.early{i}"));
        (0..60).for_each(|i| std::fs::write(early(i), "x").unwrap());
    }
    let began = Instant::now();
    let said = scene.run();
    assert!(began.elapsed() < Duration::from_secs(30), "{}: it took {:?}", case.guest, began.elapsed());
    explained(case, &said, scene.ran());
    if scene.ran() {
        assert!(scene.stood_still(), "{}: it was written to, and the verdict is {}", case.guest, said.json["verdict"]);
    }
    scene.ends_well(case.guest);
}

#[test]
fn every_guest_has_its_case() {
    let tables = [&UNFIT_TO_RUN[..], &IN_CHECK, &IN_PREPARE, &IN_FREEZE, &CLAIMS, &IN_THAW, &ON_MARIADB];
    let listed = tables.into_iter().flatten().map(|case| case.guest).chain(ALONE);
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let file = |bundle: PathBuf| bundle.file_name().unwrap().to_string_lossy().into_owned();
    let name = |bundle: PathBuf| file(bundle).rsplit_once('-').unwrap().0.to_owned();
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    // A package of its own has a test of its own.
    let there: BTreeSet<String> =
        dist::bundles("guests").into_iter().map(name).filter(|n| !packages.join(n).exists()).collect();
    assert_eq!(there, listed, "the guests that are packaged, and those that a test lists");
    let readme = std::fs::read_to_string(packages.join("README.md")).unwrap();
    let missing: Vec<&String> = listed.iter().filter(|guest| !readme.contains(&format!("| {guest} |"))).collect();
    assert!(missing.is_empty(), "guests/README.md says nothing of {missing:?}");
}

#[test]
fn what_is_no_module_of_ours_is_not_run() {
    UNFIT_TO_RUN.iter().for_each(contained);
}

#[test]
fn in_check() {
    IN_CHECK.iter().for_each(contained);
}

#[test]
fn in_prepare_while_it_holds_something() {
    IN_PREPARE.iter().for_each(contained);
}

#[test]
fn in_freeze_while_writes_are_stopped() {
    IN_FREEZE.iter().for_each(contained);
}

#[test]
fn in_thaw() {
    IN_THAW.iter().for_each(contained);
}

#[test]
fn who_says_frozen_and_is_not_is_not_believed() {
    CLAIMS.iter().for_each(contained);
    // Somebody else holds one of the two.
    let scene = Scene::of("ignores-the-error");
    let lock = sqlite::lock(&scene.path("b.db"));
    let said = scene.run();
    explained(&case("ignores-the-error", 4, "SP-MODULE-003", "b.db"), &said, scene.ran());
    drop(lock);
    scene.ends_well("ignores-the-error");
}

/// Beyond the limit it is not kept.
#[test]
fn a_flood_of_log_lines_does_no_harm() {
    let scene = Scene::of("floods-the-log");
    let said = scene.run();
    assert!(matches!(said.code, Some(0 | 4)), "{}", said.text);
    assert_eq!(scene.ran(), said.code == Some(0));
    assert!(said.log().len() <= 200, "{} lines were kept", said.log().len());
    assert!(said.text.len() < 1 << 20, "{} bytes were kept", said.text.len());
    scene.ends_well("floods-the-log");
}

/// Who listens is told no more than a few of them, and how it ended.
#[test]
fn a_flood_of_events_does_no_harm() {
    let scene = Scene::of("floods-the-channel");
    let listener = scene.site.listen();
    let said = scene.run();
    assert_eq!(said.code, Some(0), "{}", said.text);
    let events = listener.until_the_verdict();
    let lines: Vec<&str> = events.lines().filter(|line| line.contains("stillpoint.module.")).collect();
    assert!((1..=20).contains(&lines.len()), "{} events of the module were told", lines.len());
    assert!(lines.iter().all(|line| line.contains("module.flood.v1") && line.len() < 8192), "{lines:?}");
    assert!(scene.stood_still());
    scene.ends_well("floods-the-channel");
}

#[test]
fn words_of_a_module_cannot_draw_on_the_screen() {
    let odd = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    for (guest, exit) in [("draws-on-the-screen", 0), ("draws-on-the-screen-and-fails", 4)] {
        let scene = Scene::of(guest);
        for arguments in [&["check"][..], &["run", "--", "true"], &["status"]] {
            let said = scene.site.call(arguments);
            if arguments[0] == "run" {
                assert_eq!(said.code, Some(exit), "{guest}: {said:?}");
            }
            let text = said.text();
            assert!(!text.contains(odd), "{guest}, {arguments:?}: {text:?}");
            let claims = text.lines().filter(|line| line.trim_start().starts_with("✔ application-consistent"));
            let honest = usize::from(arguments[0] == "run" && exit == 0);
            assert_eq!(claims.count(), honest, "{guest}, {arguments:?}: {text}");
        }
        scene.ends_well(guest);
    }
}

#[test]
fn no_argument_becomes_a_statement_of_sqlite() {
    let scene = Scene::of("injects-sql");
    let said = scene.run();
    nothing_was_injected(&said);
    assert!(scene.stood_still());
    scene.ends_well("injects-sql");
}

fn nothing_was_injected(said: &Said) {
    assert_eq!(said.code, Some(0), "{}", said.text);
    let lines = said.log();
    assert_eq!(lines.len(), 4 * 24, "all were tried: {}", said.text);
    assert!(!said.text.contains("ANOTHER THING"), "{lines:#?}");
    let same = |kind: &str| lines.iter().filter(|line| line.contains(&format!("{kind}: the same"))).count();
    // Bytes can always be quoted; what is refused of the texts could not be.
    assert_eq!(same("bytes"), 24, "{lines:#?}");
    assert!(same("text") >= 14, "{lines:#?}");
    let integers = lines.iter().filter(|line| line.contains("integer: ") && line.contains("of another type")).count();
    assert_eq!(integers, 24, "{lines:#?}");
}

#[test]
fn arguments_that_are_not_as_declared_are_refused() {
    let scene = Scene::of("passes-wrong-arguments");
    let said = scene.run();
    assert_eq!(said.code, Some(0), "{}", said.text);
    let lines = said.log();
    assert_eq!(lines.len(), 18, "all were tried: {lines:#?}");
    assert!(lines.iter().all(|line| line.contains("refused: ")), "{lines:#?}");
    scene.ends_well("passes-wrong-arguments");
}

#[test]
fn what_is_not_declared_is_not_sent() {
    let scene = Scene::of("runs-what-is-not-declared");
    let said = scene.run();
    assert_eq!(said.code, Some(0), "{}", said.text);
    let lines = said.log();
    assert_eq!(lines.len(), 2 * 8, "all were tried: {lines:#?}");
    assert!(lines.iter().all(|line| line.contains(": refused: ")), "{lines:#?}");
    assert!(scene.stood_still() && !Path::new("/tmp/stillpoint-was-here").exists());
    scene.ends_well("runs-what-is-not-declared");
}

#[test]
fn no_statement_reaches_another_workloads_database() {
    let scene = Scene::of("names-another-workloads-database");
    let other = scene.path("other.db");
    sqlite::make(&other, Journal::Wal);
    scene.site.add_to_configuration(&format!(
        "[workload other]\nworkload_name = sqlite\ndbnames = {}\ntimeout = 60\norder = 0\n",
        other.display()
    ));
    let said = scene.run();
    assert_eq!(said.code, Some(0), "{}", said.text);
    let lines = said.log();
    assert_eq!(lines.len(), 10, "all were tried: {lines:#?}");
    assert!(lines.iter().all(|line| line.contains("not in dbnames")), "{lines:#?}");
    assert!(scene.stood_still());
    scene.ends_well("names-another-workloads-database");
}

#[test]
fn no_name_leads_out_of_the_state_folder() {
    let scene = Scene::of("leaves-the-state-folder");
    let said = scene.run();
    assert_eq!(said.code, Some(0), "{}", said.text);
    let lines = said.log();
    assert_eq!(lines.len(), 3 * 21, "all were tried: {lines:#?}");
    assert!(lines.iter().all(|line| line.contains("is no name for a state file")), "{lines:#?}");
    let point = std::fs::read_to_string(own_file(&scene, "recovery-point.json")).unwrap();
    assert!(point.contains(r#""frozen":true"#), "the host's own file is the host's: {point}");
    let mut names: Vec<String> = std::fs::read_dir(scene.path("ipc"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| *name != format!("stillpoint.{WORKLOAD}.recovery-point.json"));
    assert!(names.is_empty(), "{names:?}");
    assert!(!scene.path("escaped").exists() && !Path::new("/tmp/escaped").exists());
    scene.ends_well("leaves-the-state-folder");
}

fn own_file(scene: &Scene, name: &str) -> PathBuf {
    scene.path("ipc").join(format!("stillpoint.{WORKLOAD}.{name}"))
}

/// `ipc_folder` may belong to the database's user, who puts there what he likes.
#[test]
fn no_planted_link_leads_out_of_the_state_folder() {
    let scene = Scene::of("follows-planted-links");
    let outside = scene.path("outside");
    std::fs::create_dir(&outside).unwrap();
    let file = outside.join("file");
    std::fs::write(&file, "untouched").unwrap();
    for name in ["read", "written", "removed"] {
        symlink(&file, own_file(&scene, name)).unwrap();
    }
    symlink(&outside, own_file(&scene, "folder")).unwrap();
    symlink(own_file(&scene, "recovery-point.json"), own_file(&scene, "inside")).unwrap();
    nix::unistd::mkfifo(&own_file(&scene, "pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // The host's own names, too.
    symlink(&file, own_file(&scene, "recovery-point.json")).unwrap();
    symlink(&file, scene.path("ipc").join(format!(".stillpoint.{WORKLOAD}.recovery-point.json.new"))).unwrap();
    symlink(&file, scene.path("ipc").join(format!(".stillpoint.{WORKLOAD}.written.new"))).unwrap();
    let said = scene.run();
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "untouched", "{}", said.text);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{}", said.text);
    assert!(!said.text.contains("untouched"), "what lies outside was read: {}", said.text);
    let lines = said.log();
    assert!(lines.iter().any(|line| line.contains("get read: ")), "{lines:#?}");
    // A link is replaced by a file, and never followed.
    for name in ["written", "recovery-point.json"] {
        let there = std::fs::symlink_metadata(own_file(&scene, name)).unwrap();
        assert!(there.is_file(), "{name}: {there:?}, {lines:#?}");
    }
    assert!(scene.stood_still());
    scene.ends_well("follows-planted-links");
}

#[test]
fn on_mariadb() {
    const SECRET: &str = "hunter2-0815";
    let Some(server) = MariaDb::private("on_mariadb", &[]) else { return };
    server.make_table();
    server.sql(&format!(
        "CREATE TABLE app.canary (alive TEXT); INSERT INTO app.canary VALUES ('yes'); \
         CREATE USER backup@localhost IDENTIFIED BY '{SECRET}'; GRANT ALL ON *.* TO backup@localhost;"
    ));
    let writers = server.writers(2);
    for case in &ON_MARIADB {
        let guest = case.guest;
        let site = Site::with(&format!(
            "[workload]\nworkload_name = hostile\ncredString = -u backup -p{SECRET} -S {}\nstall_budget = {}\n\
             timeout = 60\n",
            server.socket().display(),
            if case.exit == 0 { ENOUGH } else { SHORT }
        ));
        site.install_guest(guest);
        writers.get_on(5);
        let ran = site.path("ran");
        let said = site.json(&["run", "--", "touch", ran.to_str().unwrap()]);
        explained(case, &said, ran.exists());
        match guest {
            "injects-sql-into-mariadb" => nothing_was_injected(&said),
            "cancels-other-sessions" => {
                let lines = said.log();
                assert!(lines.len() >= 8 && lines.iter().all(|line| line.contains("no place in")), "{lines:#?}");
            }
            _ => {}
        }
        assert!(!said.text.contains(SECRET), "{guest}: {}", said.text);
        writers.get_on(5);
        let gap = writers.log().longest_gap();
        assert!(gap < STALL, "{guest}: a writer waited {gap:?}, {}", said.text);
        assert_eq!(server.sql("SELECT alive FROM app.canary;"), "yes\n", "{guest}: the canary lives");
        site.assert_nothing_is_frozen();
    }
    let log = writers.stop();
    assert!(log.errors.is_empty(), "{:?}", log.errors);
}

/// A bundle like this guest's, with a component of `size` bytes, signed as packaging does.
fn heavy(site: &Site, keygen: &Path, guest: &str, size: usize) {
    let bundle = site.path("lib/modules").join(dist::bundle("guests", guest).file_name().unwrap());
    site.install_guest(guest);
    let mut wasm = std::fs::read(bundle.join("module.wasm")).unwrap();
    // A section that says nothing: its length in five bytes, an empty name, zeros.
    let length = size - wasm.len() - 6;
    wasm.push(0);
    wasm.extend((0..5).map(|i| u8::try_from((length >> (7 * i)) & 0x7f).unwrap() | if i < 4 { 0x80 } else { 0 }));
    wasm.resize(size, 0);
    std::fs::write(bundle.join("module.wasm"), &wasm).unwrap();
    let digest = succeed(Command::new("sha256sum").arg(bundle.join("module.wasm")), "");
    let manifest = bundle.join("module.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let (written, packaged) = text.split_once("[wasm]").unwrap();
    let imports = packaged.lines().find(|line| line.starts_with("imports")).unwrap();
    let digest = digest.split_whitespace().next().unwrap();
    let wasm = format!("[wasm]\nsha256 = \"{digest}\"\nsize = {size}\ncompiler = \"none\"\n{imports}\n");
    std::fs::write(&manifest, format!("{written}{wasm}")).unwrap();
    dist::sign(keygen, &bundle);
}

/// One that may still be loaded, and one that is not even read.
#[test]
fn a_heavy_component_does_no_harm() {
    let Some(keygen) = missing::program("a_heavy_component_does_no_harm", &["ssh-keygen"], "openssh-client") else {
        return;
    };
    let heavy_ones = [
        (45 << 20, case("freezes-nothing", 4, "SP-MODULE-003", "froze nothing")),
        (50 << 20, case("freezes-nothing", 3, "SP-TRUST-003", "module.wasm")),
    ];
    for (size, case) in heavy_ones {
        let scene = Scene::of(case.guest);
        heavy(&scene.site, &keygen, case.guest, size);
        let said = scene.run();
        assert_eq!((said.code, scene.ran()), (Some(case.exit), false), "{}", said.text);
        assert!(said.faults().iter().any(|id| id == case.id) && said.text.contains(case.words), "{}", said.text);
        scene.ends_well(case.guest);
    }
}
