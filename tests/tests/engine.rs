//! The engine: what stands round it while a database stands still, and what an engine gains that breaks every rule.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::missing::is_root;
use stillpoint_tests::processes;
use stillpoint_tests::program::{run, succeed};
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::writers::Writers;
use stillpoint_tests::{dist, wait_until};

/// The running processes whose program has this name and whose parent's command line names this site.
fn engines(site: &Site) -> Vec<i32> {
    let place = site.path("").display().to_string();
    let is_ours = |pid: &i32| {
        let parent = field(*pid, "PPid").and_then(|p| std::fs::read_to_string(format!("/proc/{p}/cmdline")).ok());
        let program = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        program.starts_with("stillpoint-engine") && parent.is_some_and(|p| p.contains(place.trim_end_matches('/')))
    };
    processes::ids().filter(is_ours).collect()
}

/// What the kernel says of a process.
fn field(pid: i32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::trim))?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A site with one workload for each file.
fn site(folder: &Path, files: &[&str]) -> Site {
    let mut configuration = String::new();
    for name in files {
        let file = folder.join(name);
        sqlite::make(&file, Journal::Wal);
        configuration += &format!("[workload {name}]\nworkload_name = sqlite\ndbnames = {}\n", file.display());
    }
    Site::with(&configuration)
}

#[test]
fn an_engine_holds_nothing_and_can_become_nobody() {
    if !is_root("an_engine_holds_nothing_and_can_become_nobody", "it needs root") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), &["a", "b"]);
    site.freeze();
    let engines = engines(&site);
    assert_eq!(engines.len(), 2, "one for each workload");
    let mut users = BTreeSet::new();
    for pid in &engines {
        let is = |name: &str| field(*pid, name).unwrap_or_else(|| panic!("{name} of {pid}"));
        let id = (1_900_000_000 + pid).to_string();
        assert_eq!((is("Uid"), is("Gid")), ([id.as_str(); 4].join(" "), [id.as_str(); 4].join(" ")));
        users.insert(id);
        assert_eq!(is("Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&is(set), 16), Ok(0), "{set}");
        }
        assert_eq!((is("NoNewPrivs"), is("Seccomp")), ("1".into(), "2".into()));
        assert_eq!(is("Threads"), "2");
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let open = |n: &str| std::fs::read_link(proc.join("fd").join(n)).unwrap().display().to_string();
        let all: BTreeSet<_> = std::fs::read_dir(proc.join("fd")).unwrap().map(|e| e.unwrap().file_name()).collect();
        // Standard input is also held under a number of its own; it is one socket.
        let others: Vec<_> = all.iter().filter_map(|n| n.to_str()).filter(|n| !["0", "1", "2"].contains(n)).collect();
        assert!(open("0").starts_with("socket:") && others.iter().all(|n| open(n) == open("0")), "{all:?}");
        assert_eq!((open("1").as_str(), open("2").as_str()), ("/memfd:stillpoint (deleted)", "/dev/null"));
        // The component cannot be changed, by nobody.
        let module = std::fs::File::options().write(true).open(proc.join("fd/1"));
        assert!(module.is_err() || std::io::Write::write(&mut module.unwrap(), b"x").is_err());
        // Of a process that is not dumpable, all this belongs to root; and so nobody of its own user may trace it.
        assert_eq!(std::fs::metadata(proc.join("environ")).unwrap().uid(), 0);
        assert_eq!(std::fs::read(proc.join("environ")).unwrap(), b"");
        assert_eq!(std::fs::read_link(proc.join("cwd")).unwrap(), Path::new("/"));
        let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
        for (name, most) in [
            ("Max core file size", 0),
            ("Max file size", 0),
            ("Max locked memory", 0),
            ("Max msgqueue size", 0),
            ("Max open files", 0),
            ("Max processes", 3),
            ("Max cpu time", 8000),
            ("Max data size", 128 << 20),
        ] {
            let line = limits.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {limits}"));
            let has: Vec<u64> = line.split_whitespace().take(2).map(|n| n.parse().unwrap_or(u64::MAX)).collect();
            assert!(has.iter().all(|n| *n <= most), "{name}: {line}");
        }
        let stat = std::fs::read_to_string(proc.join("stat")).unwrap();
        let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned();
        assert_eq!(session, pid.to_string(), "a session of its own");
    }
    assert_eq!(users.len(), 2, "no two are the same user");
    assert_eq!(site.json(&["thaw"]).code, Some(0));
    wait_until("the engines end", || engines.iter().all(|p| !Path::new(&format!("/proc/{p}")).exists()));
}

/// Programs of ours in a folder that everybody may look into, with this one as the engine.
fn programs(folder: &Path, engine: &Path) -> PathBuf {
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    let bin = folder.join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (from, to) in [(dist::program("stillpoint").as_path(), "stillpoint"), (engine, "stillpoint-engine")] {
        let to = bin.join(to);
        if std::fs::hard_link(from, &to).is_err() {
            std::fs::copy(from, &to).unwrap();
        }
    }
    bin
}

#[test]
fn without_root_the_walls_that_can_be_stand_and_check_names_the_others() {
    if !is_root("without_root_the_walls_that_can_be_stand", "it needs root, to be somebody else") {
        return;
    }
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    let bin = programs(folder.path(), &dist::program("stillpoint-engine"));
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let file = data.join("a.db");
    sqlite::make(&file, Journal::Wal);
    let site = Site::with(&format!(
        "[workload a]\nworkload_name = sqlite\nlinux_user = nobody\ndbnames = {}\n",
        file.display()
    ));
    succeed(Command::new("chown").args(["--recursive", "nobody"]).arg(&data).arg(site.path("")), "");
    let call = |arguments: &[&str]| {
        let mut command = Command::new(bin.join("stillpoint"));
        command.arg("--state-dir").arg(site.path("")).args(arguments);
        run(command.uid(NOBODY).gid(NOBODY), "")
    };
    let said = call(&["check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for wall in ["the engine shares your user id", "no control group"] {
        assert!(said.stdout.contains(wall), "{wall}: {said:?}");
    }
    let frozen = call(&["freeze"]);
    assert_eq!(frozen.code, Some(0), "{frozen:?}");
    let [engine] = engines(&site)[..] else { panic!("one engine") };
    let is = |name: &str| field(engine, name).unwrap();
    assert_eq!((is("NoNewPrivs"), is("Seccomp"), is("CapEff")), ("1".into(), "2".into(), "0000000000000000".into()));
    assert_eq!(std::fs::metadata(format!("/proc/{engine}/environ")).unwrap().uid(), 0, "not dumpable");
    let thawed = call(&["thaw"]);
    assert_eq!(thawed.code, Some(0), "{thawed:?}");
}

/// Root has all walls; whether this kernel has landlock whole shows too.
#[test]
fn as_root_nothing_but_an_old_kernel_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let said = site(folder.path(), &["a"]).json(&["check"]);
    let missing = said.json["missing_walls"].as_array().unwrap_or_else(|| panic!("{}", said.text));
    let root = nix::unistd::geteuid().is_root();
    assert_eq!(missing.iter().any(|w| w.as_str().unwrap().contains("user id")), !root, "{}", said.text);
}

/// What one cycle with an evil engine came to.
struct Cycle {
    said: Said,
    /// The agent was told to snapshot.
    ran: bool,
    took: Duration,
}

/// Runs one cycle on two databases with writers, with an engine that does this. Whatever it does: the writers go on,
/// nothing stays frozen, nothing is written but in `ipc_folder`, and no row is lost.
fn cycle(evil: &str) -> Cycle {
    cycle_of("leaves-the-state-folder", evil)
}

/// In the place of this guest's engine.
fn cycle_of(guest: &str, evil: &str) -> Cycle {
    let folder = tempfile::tempdir().unwrap();
    let bin = programs(folder.path(), Path::new(env!("CARGO_BIN_EXE_evil-engine")));
    std::fs::write(bin.join("evil"), evil).unwrap();
    let (data, state) = (folder.path().join("data"), folder.path().join("state/ipc"));
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir_all(&state).unwrap();
    // As many as may be.
    (0..64).for_each(|i| std::fs::write(state.join(format!("stillpoint.evil.early{i}")), "x").unwrap());
    let files = ["a.db", "b.db"].map(|f| data.join(f));
    files.iter().for_each(|f| sqlite::make(f, Journal::Wal));
    // A database of another workload, which is not in this one's dbnames.
    sqlite::make(&data.join("other.db"), Journal::Wal);
    let site = Site::with(&format!(
        "[workload evil]\nworkload_name = hostile\ndbnames = {}, {}\nipc_folder = {}\nstall_budget = 4\ntimeout = 60\n",
        files[0].display(),
        files[1].display(),
        state.display()
    ));
    site.install_guest(guest);
    // It compiles, too.
    std::fs::remove_dir_all(site.path("lib/compiled")).unwrap();
    let writers = files.each_ref().map(|f| sqlite::writers(f, 1));
    writers.iter().for_each(|w| w.get_on(5));
    let call = |arguments: &[&str]| {
        let mut command = Command::new(bin.join("stillpoint"));
        command.args(["--output", "json", "--state-dir"]).arg(site.path("")).args(arguments);
        Said::of(run(&mut command, ""))
    };
    let ran = site.path("ran");
    let began = Instant::now();
    let said = call(&["run", "--", "touch", ran.to_str().unwrap()]);
    let took = began.elapsed();
    writers.iter().for_each(|w| w.get_on(5));
    let status = call(&["status"]);
    assert_eq!((status.code, &status.json["under_way"]), (Some(0), &Value::Null), "{evil}: {}", said.text);
    let runs = |id: i32| std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|program| program.starts_with(&bin));
    wait_until("the engine ends", || !processes::ids().any(runs));
    for (log, file) in writers.map(Writers::stop).iter().zip(&files) {
        assert!(log.errors.is_empty(), "{evil}: a writer saw {:?}", log.errors);
        assert!(sqlite::rows(file).len() >= log.acknowledged(), "{evil}: rows are lost");
    }
    let below = |folder: &Path| -> BTreeSet<String> {
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(below(&folder.path().join("state")), BTreeSet::from(["ipc".into()]), "{evil}");
    assert_eq!(below(&bin), ["evil", "stillpoint", "stillpoint-engine"].map(String::from).into(), "{evil}");
    assert!(!Path::new("/tmp/evil").exists(), "{evil}");
    assert!(below(&state).iter().all(|n| n.starts_with("stillpoint.evil.")), "{evil}: {:?}", below(&state));
    Cycle { ran: ran.exists(), said, took }
}

/// It is found out: nothing was snapshotted, and the message says why.
fn ended(evil: &str, words: &str) {
    let cycle = cycle(evil);
    assert_eq!((cycle.said.code, cycle.ran), (Some(4), false), "{evil}: {}", cycle.said.text);
    assert_eq!(cycle.said.json["verdict"], "failed", "{evil}: {}", cycle.said.text);
    assert!(cycle.said.text.contains(words), "{evil}, not {words}: {}", cycle.said.text);
    // prepare_seconds of the module, and stall_budget, and what is added to both.
    assert!(cycle.took < Duration::from_secs(20), "{evil}: {:?}", cycle.took);
}

#[test]
fn the_evil_engine_is_one_when_it_is_not_evil() {
    let cycle = cycle("never-evil");
    assert_eq!((cycle.said.code, cycle.ran), (Some(0), true), "{}", cycle.said.text);
    assert_eq!(cycle.said.json["verdict"], "application-consistent");
}

#[test]
fn an_engine_that_lies_about_its_walls_is_given_no_module() {
    let cycle = cycle("start-unwalled");
    assert_eq!(cycle.said.faults(), ["SP-ENGINE-004"], "{}", cycle.said.text);
    assert!(cycle.said.text.contains("seccomp") && !cycle.ran, "{}", cycle.said.text);
}

#[test]
fn an_engine_that_begins_with_something_else_is_none() {
    for way in ["garbage", "huge", "request", "ready", "done", "long", "gone", "large"] {
        let evil = format!("start-{way}");
        let cycle = cycle(&evil);
        assert_eq!((cycle.said.code, cycle.ran), (Some(4), false), "{evil}: {}", cycle.said.text);
        assert_eq!(cycle.said.faults(), ["SP-ENGINE-001"], "{evil}: {}", cycle.said.text);
    }
}

#[test]
fn an_engine_that_does_not_compile_as_it_must_is_none() {
    for way in ["huge", "endless", "short", "gone", "ready", "stale"] {
        let evil = format!("compile-{way}");
        let cycle = cycle(&evil);
        assert_eq!((cycle.said.code, cycle.ran), (Some(4), false), "{evil}: {}", cycle.said.text);
        assert_eq!(cycle.said.faults(), ["SP-ENGINE-001"], "{evil}: {}", cycle.said.text);
    }
    let cycle = cycle("compile-unfit");
    assert_eq!((cycle.said.code, cycle.said.faults()), (Some(3), vec!["SP-ENGINE-002".into()]), "{}", cycle.said.text);
}

#[test]
fn what_is_said_behind_an_artefact_is_not_heard() {
    let cycle = cycle("compile-more");
    assert_eq!((cycle.said.code, cycle.ran), (Some(0), true), "{}", cycle.said.text);
}

/// It is asked once more, with what was just compiled, and then no more.
#[test]
fn an_engine_that_loads_nothing_is_none() {
    let cycle = cycle("load-stale");
    assert_eq!((cycle.said.code, cycle.ran), (Some(4), false), "{}", cycle.said.text);
    assert_eq!(cycle.said.faults(), ["SP-ENGINE-001"], "{}", cycle.said.text);
}

/// In each phase it asks for everything, and is refused; what it was allowed to do goes on as if nothing had been.
#[test]
fn what_no_module_may_is_refused_to_an_engine_too() {
    for phase in ["check", "prepare", "freeze", "thaw"] {
        let cycle = cycle(&format!("{phase}-asks"));
        assert_eq!(cycle.said.json["verdict"], "application-consistent", "{phase}: {}", cycle.said.text);
        let asked: Vec<String> = cycle.said.log().into_iter().filter(|l| l.contains("asked")).collect();
        assert!(asked.len() > 30, "{phase}: {asked:?}");
        for line in asked {
            assert!(line.contains("(Err("), "{phase}: {line}");
        }
    }
}

#[test]
fn what_its_module_does_not_import_is_not_answered() {
    let cycle = cycle_of("fails-in-check", "check-asks");
    assert_eq!((cycle.said.code, cycle.ran), (Some(4), false), "{}", cycle.said.text);
    assert_eq!(cycle.said.faults(), ["SP-ENGINE-003"], "{}", cycle.said.text);
}

#[test]
fn no_connection_is_ended_for_it() {
    let test = "no_connection_is_ended_for_it";
    let Some(server) = MariaDb::private(test, &[]) else { return };
    server.make_table();
    let writers = server.writers(2);
    writers.get_on(5);
    for phase in ["check", "prepare", "freeze"] {
        let folder = tempfile::tempdir().unwrap();
        let bin = programs(folder.path(), Path::new(env!("CARGO_BIN_EXE_evil-engine")));
        std::fs::write(bin.join("evil"), format!("{phase}-cancel")).unwrap();
        let site = Site::with(&format!(
            "[workload evil]\nworkload_name = mariadb\ncredString = -u root --socket={}\n",
            server.socket().display()
        ));
        let mut command = Command::new(bin.join("stillpoint"));
        command.args(["--output", "json", "--state-dir"]).arg(site.path("")).args(["run", "--", "true"]);
        let said = Said::of(run(&mut command, ""));
        // It asked, and then it froze nothing.
        assert_eq!(said.code, Some(4), "{}", said.text);
        let log = said.log();
        assert_eq!(log.len(), 50, "{}", said.text);
        assert!(log.iter().all(|l| l.contains("(Err(Refused")), "{}", said.text);
    }
    writers.get_on(5);
    let log = writers.stop();
    assert!(log.errors.is_empty(), "{:?}", log.errors);
}

#[test]
fn out_of_turn_ends_it() {
    for phase in ["check", "prepare", "freeze"] {
        for way in ["ready", "walled", "two"] {
            ended(&format!("{phase}-{way}"), "out of turn");
        }
    }
    ended("loaded-talk", "out of turn");
    // The answer to the next phase, before it was asked.
    ended("check-twice", "out of turn");
    ended("prepare-twice", "out of turn");
}

#[test]
fn what_is_no_message_ends_it() {
    for phase in ["check", "prepare", "freeze"] {
        for (way, words) in [
            ("garbage", "frame too long"),
            ("huge", "frame too long"),
            ("large", "too many"),
            ("long", "more than it may"),
            ("name", "more than it may"),
            ("gone", "the engine is gone"),
        ] {
            ended(&format!("{phase}-{way}"), if way == "large" { "the engine is gone" } else { words });
        }
    }
    ended("freeze-point", "more than it may");
}

#[test]
fn a_flood_ends_it() {
    for phase in ["check", "prepare", "freeze"] {
        ended(&format!("{phase}-notices"), "more than it may");
        ended(&format!("{phase}-requests"), "");
        ended(&format!("{phase}-lists"), "");
    }
}

#[test]
fn silence_ends_it() {
    for phase in ["check", "prepare", "freeze"] {
        for way in ["silent", "part"] {
            ended(&format!("{phase}-{way}"), "ran longer than it may");
        }
    }
}

#[test]
fn an_engine_that_says_frozen_is_not_believed() {
    ended("freeze-nothing", "froze nothing");
    ended("freeze-outcome", "returns");
    ended("freeze-done", "returns");
}

/// The copy was whole when it was cut. The host takes back what the engine holds on to, and in time.
#[test]
fn in_thaw_it_changes_nothing() {
    for way in ["silent", "part", "garbage", "huge", "large", "ready", "two", "notices", "requests", "gone", "twice"] {
        let evil = format!("thaw-{way}");
        let cycle = cycle(&evil);
        assert_eq!((cycle.said.code, cycle.ran), (Some(0), true), "{evil}: {}", cycle.said.text);
        assert_eq!(cycle.said.json["verdict"], "application-consistent", "{evil}: {}", cycle.said.text);
        assert!(cycle.took < Duration::from_secs(20), "{evil}: {:?}", cycle.took);
    }
}

/// Said during the hold, before anybody asked: it is found out in thaw, and the snapshot is what it was.
#[test]
fn an_answer_too_many_during_the_hold_changes_nothing() {
    let cycle = cycle("freeze-twice");
    assert_eq!((cycle.said.code, cycle.ran), (Some(0), true), "{}", cycle.said.text);
    assert!(cycle.said.text.contains("out of turn"), "{}", cycle.said.text);
}
