//! Several workloads in one cycle, on real servers with writers at full speed: each with its own user and socket, frozen in
//! `order`, thawed in reverse, in one snapshot; and what becomes of the others when one of them fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use stillpoint_tests::comparison::{Row, Window, assert_recovered, assert_same};
use stillpoint_tests::mariadb::{self, MariaDb};
use stillpoint_tests::missing::can_be_somebody_else;
use stillpoint_tests::postgres::{self, Postgres};
use stillpoint_tests::program::succeed;
use stillpoint_tests::redis::{Programs, Redis};
use stillpoint_tests::said::Said;
use stillpoint_tests::site::{Site, recovery_point};
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::volume::Volume;
use stillpoint_tests::wait_until;
use stillpoint_tests::writers::{Log, Writers};
use tempfile::TempDir;

fn verdicts(said: &Said) -> BTreeMap<String, String> {
    let word = |v: &Value| v.as_str().unwrap().to_owned();
    said.json["workloads"].as_array().unwrap().iter().map(|w| (word(&w["name"]), word(&w["verdict"]))).collect()
}

fn assert_verdicts(said: &Said, expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    assert_eq!(verdicts(said), expected, "{}", said.text);
}

fn assert_nothing_is_left(site: &Site) {
    site.assert_nothing_is_frozen();
    let said = site.json(&["recover"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
}

/// Whose statements were sent in this phase, in the order in which they were sent.
fn sent_in(entries: &[Value], phase: &str) -> Vec<String> {
    let all = entries.iter().filter(|e| e["entry"] == "statement" && e["phase"] == phase);
    all.map(|e| e["workload"].as_str().unwrap().to_owned()).collect()
}

/// Each once, by its first place in the list; and whether no one's places lie among another's.
fn runs(names: &[String]) -> (Vec<&str>, bool) {
    let mut runs: Vec<&str> = names.iter().map(String::as_str).collect();
    runs.dedup();
    let count = runs.len();
    let mut seen = BTreeSet::new();
    runs.retain(|name| seen.insert(*name));
    let whole = runs.len() == count;
    (runs, whole)
}

/// A folder of SQLite databases that this user may write to.
fn files(parent: &Path, owner: &str, names: &[(&str, Journal)]) {
    std::fs::create_dir(parent).unwrap();
    for (name, journal) in names {
        sqlite::make(&parent.join(name), *journal);
    }
    succeed(Command::new("chown").args(["-R", owner]).arg(parent), "");
}

const APPENDING: [(&str, &str); 2] = [("appendonly", "yes"), ("appendfsync", "everysec")];

/// Five workloads, five users, five logins; the three orders; two kinds of verdict; one snapshot.
#[test]
fn five_workloads_stand_still_in_one_snapshot() {
    let test = "five_workloads_stand_still_in_one_snapshot";
    if !can_be_somebody_else(test) {
        return;
    }
    let (Some(redis_programs), Some(volume)) = (Programs::find(test), Volume::make(test)) else { return };
    let data = volume.data();
    let made = (mariadb::fresh(test, &data.join("shop")), postgres::fresh(test, &data.join("reports")));
    let (Some(()), Some(())) = made else { return };
    let shop = MariaDb::on(&data.join("shop"), &[]);
    let reports = Postgres::on(&data.join("reports"), &[]);
    let cache = Redis::on(&redis_programs, &data.join("cache"), &APPENDING);
    shop.make_table();
    reports.make_table();
    files(&data.join("files"), "bin", &[("orders.db", Journal::Wal), ("stock.db", Journal::Rollback)]);
    files(&data.join("app"), "root", &[("app.db", Journal::Wal)]);
    let ipc = data.join("ipc");
    std::fs::create_dir(&ipc).unwrap();
    let more =
        |order: u32| format!("ipc_folder = {}\ntimeout = 60\nstall_budget = 30\norder = {order}\n", ipc.display());
    let site = Site::with(
        &[
            format!(
                "[workload shop]\nworkload_name = mariadb\nlinux_user = nobody\ncredString = -u nobody -S {}\n{}",
                shop.socket().display(),
                more(1)
            ),
            format!(
                "[workload reports]\nworkload_name = postgres\nlinux_user = postgres\ncredString = -u postgres -S {}\n{}",
                reports.socket().display(),
                more(0)
            ),
            cache.configuration(&format!("linux_user = daemon\n{}", more(2))).replace("[workload]", "[workload cache]"),
            format!(
                "[workload files]\nworkload_name = sqlite\nlinux_user = bin\ndbnames = {}, {}\n{}",
                data.join("files/orders.db").display(),
                data.join("files/stock.db").display(),
                more(2)
            ),
            format!(
                "[workload app]\nworkload_name = sqlite\ndbnames = {}\n{}",
                data.join("app/app.db").display(),
                more(2)
            ),
        ]
        .concat(),
    );
    shop.sql(&site.call(&["privileges", "shop"]).stdout);
    let checked = site.json(&["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.text);

    let writers = [
        ("shop", shop.writers(2)),
        ("reports", reports.writers(2)),
        ("cache", cache.writers(1)),
        ("orders", sqlite::writers(&data.join("files/orders.db"), 1)),
        ("stock", sqlite::writers(&data.join("files/stock.db"), 1)),
        ("app", sqlite::writers(&data.join("app/app.db"), 1)),
    ];
    writers.iter().for_each(|(_, w)| w.get_on(20));
    let (said, window, (image, snapshot)) = site.while_frozen(|| volume.image_and_snapshot());
    writers.iter().for_each(|(_, w)| w.get_on(20));
    // Full speed fills the volume: they stop before what needs none of them.
    let logs: BTreeMap<&str, Log> = writers.into_iter().map(|(name, w)| (name, w.stop())).collect();
    let text = site.call(&["run", "--", "true"]);

    // The verdict: of all, and of each.
    assert_eq!(said.code, Some(0), "{}", said.text);
    let consistent = ["shop", "reports", "cache", "files", "app"].map(|name| (name, "application-consistent"));
    assert_verdicts(&said, &consistent);
    assert_eq!(said.json["kind"], "recoverable", "the weakest of all: {}", said.text);
    for (name, kind) in [("shop", "still"), ("reports", "recoverable"), ("cache", "still"), ("files", "still")] {
        assert_eq!(said.workload(name)["kind"], kind, "{}", said.text);
    }
    let skew = said.json["skew_us"].as_u64().unwrap_or_else(|| panic!("no skew: {}", said.text));
    let frozen_us = said.json["frozen_us"].as_u64().unwrap();
    assert!(skew > 0 && skew < frozen_us, "{}", said.text);
    let standstills: BTreeMap<&str, u64> = ["shop", "cache", "files", "app"]
        .iter()
        .map(|n| (*n, said.workload(n)["standstill_us"].as_u64().unwrap_or_else(|| panic!("{n}: {}", said.text))))
        .collect();
    eprintln!("skew {skew} µs, frozen {frozen_us} µs, standstills {standstills:?}");
    for name in ["shop", "reports", "cache", "files", "app"] {
        let point = recovery_point(&snapshot.join("ipc"), name);
        assert_eq!((&point["cycle"], &point["frozen"]), (&said.json["cycle"], &Value::Bool(true)), "{name}: {point}");
        assert_eq!(point["point"], said.workload(name)["point"], "{name}");
    }
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.contains(" from the first to the last"), "{}", text.stdout);
    for line in ["reports  application-consistent (recoverable), lsn ", "app      application-consistent (still)\n"] {
        assert!(text.stdout.contains(line), "{line:?} is not in {}", text.stdout);
    }

    // What an operator sees of the order.
    let entries = site.entries(&said);
    let [preparing, freezing] = ["prepare", "freeze"].map(|phase| sent_in(&entries, phase));
    let (all, whole) = runs(&preparing);
    assert!(all.len() == 5 && !whole, "all are prepared at once: {preparing:?}");
    // `timeout` does not run while others still do their slow work.
    let prepare: Vec<&Value> =
        entries.iter().filter(|e| e["entry"] == "statement" && e["phase"] == "prepare").collect();
    let held = prepare.iter().position(|e| e["name"] == "stage_start" || e["name"] == "backup_start").unwrap();
    let slow = |e: &&Value| ["cache", "files", "app"].contains(&e["workload"].as_str().unwrap());
    assert!(prepare[..held].iter().any(slow) && !prepare[held..].iter().any(slow), "{preparing:?}");
    let order = |name: &String| ["reports", "shop"].iter().position(|n| n == name).unwrap_or(2);
    let (all, whole) = runs(&freezing);
    assert!(all.len() == 5 && !whole, "those of one order freeze together: {freezing:?}");
    let freezing: Vec<usize> = freezing.iter().map(order).collect();
    assert!(freezing.is_sorted(), "{freezing:?}");
    let thawed = entries.iter().filter(|e| e["entry"] == "undo");
    let mut thawing: Vec<usize> = thawed.map(|e| order(&e["workload"].as_str().unwrap().to_owned())).collect();
    thawing.dedup();
    assert_eq!(thawing, [2, 1, 0], "thawed in reverse");

    drop((shop, reports, cache));
    let check = |what: &str, data: &Path| {
        let same =
            |name: &str, rows: &BTreeSet<Row>| assert_same(&format!("{name} in {what}"), &logs[name], window, rows);
        same("shop", &MariaDb::on(&data.join("shop"), &[]).rows());
        same("cache", &Redis::on(&redis_programs, &data.join("cache"), &APPENDING).rows());
        same("orders", &sqlite::rows(&data.join("files/orders.db")));
        same("stock", &sqlite::rows(&data.join("files/stock.db")));
        same("app", &sqlite::rows(&data.join("app/app.db")));
        let rows = Postgres::on(&data.join("reports"), &[]).rows();
        assert_recovered(&format!("reports in {what}"), &logs["reports"], window.frozen, window.thaw_asked, &rows);
    };
    check("the snapshot", &snapshot);
    let volume = volume.replaced_by(image);
    check("the block image", &volume.data());
}

/// A server, two SQLite databases and a Redis, the second SQLite database in `order` beside the first.
struct Scene {
    shop: MariaDb,
    cache: Redis,
    folder: TempDir,
    site: Site,
}

impl Scene {
    /// `more` is added to each section, by its name.
    fn new(test: &str, more: &[(&str, &str)]) -> Option<Scene> {
        let (shop, cache) = (MariaDb::private(test, &[])?, Redis::private(test, &APPENDING)?);
        shop.make_table();
        let folder = tempfile::tempdir().unwrap();
        for name in ["app.db", "held.db"] {
            sqlite::make(&folder.path().join(name), Journal::Wal);
        }
        let lines = |name: &str| {
            let more: String = more.iter().filter(|(n, _)| *n == name || *n == "*").map(|(_, l)| *l).collect();
            format!("timeout = 60\n{more}")
        };
        let at = folder.path().display();
        let site = Site::with(&format!(
            "[workload shop]\nworkload_name = mariadb\ncredString = -u root -S {}\n{}{}\
             [workload app]\nworkload_name = sqlite\ndbnames = {at}/app.db\n{}\
             [workload held]\nworkload_name = sqlite\ndbnames = {at}/held.db\n{}",
            shop.socket().display(),
            lines("shop"),
            cache.configuration(&lines("cache")).replace("[workload]", "[workload cache]"),
            lines("app"),
            lines("held"),
        ));
        Some(Scene { shop, cache, folder, site })
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn writers(&self) -> [(&'static str, Writers); 3] {
        let all = [
            ("shop", self.shop.writers(1)),
            ("cache", self.cache.writers(1)),
            ("app", sqlite::writers(&self.file("app.db"), 1)),
        ];
        all.iter().for_each(|(_, w)| w.get_on(20));
        all
    }
}

/// All or nothing: one that somebody holds for longer than `stall_budget` ends the cycle, and the others go on as soon as
/// that is known.
#[test]
fn one_that_cannot_be_frozen_leaves_none_frozen() {
    let test = "one_that_cannot_be_frozen_leaves_none_frozen";
    // The first in order is thawed last.
    let Some(scene) = Scene::new(test, &[("held", "stall_budget = 1\norder = 1\n")]) else { return };
    let writers = scene.writers();
    let lock = sqlite::lock(&scene.file("held.db"));
    let ran = scene.site.path("ran");
    let said = scene.site.json(&["run", "--", "touch", ran.to_str().unwrap()]);
    writers.iter().for_each(|(_, w)| w.get_on(20));
    assert_eq!((said.code, said.faults().len()), (Some(4), 1), "{}", said.text);
    assert!(!ran.exists(), "the snapshot was taken all the same");
    assert_verdicts(&said, &["shop", "cache", "app", "held"].map(|name| (name, "failed")));
    assert_eq!(said.workload("held")["faults"].as_array().unwrap().len(), 1, "{}", said.text);
    assert!(said.workload("shop")["reason"].as_str().unwrap().contains("because held could not"), "{}", said.text);
    assert!(said.json["frozen_at"].is_null(), "{}", said.text);
    // The other lock is left alone.
    assert!(sqlite::is_locked(&scene.file("held.db")));
    assert_nothing_is_left(&scene.site);
    let text = scene.site.call(&["run", "--", "true"]);
    assert_eq!(text.code, Some(4), "{text:?}");
    assert!(text.stdout.contains("shop   it was given up, because held could not be frozen"), "{}", text.stdout);
    for (name, writers) in writers {
        let log = writers.stop();
        let gap = log.longest_gap();
        eprintln!("{name}: longest gap {gap:?}");
        assert!(log.errors.is_empty(), "{name}: {:?}", log.errors);
        assert!(gap > Duration::from_millis(500), "{name} never stood still");
        // The second of `stall_budget`, and what a busy machine needs.
        assert!(gap < Duration::from_secs(6), "{name} stood still for {gap:?}");
    }
    drop(lock);
    assert_eq!(scene.site.json(&["run", "--", "true"]).code, Some(0));
}

/// Once it is known that there will be no snapshot, nobody waits for one that is still on its way into its standstill.
#[test]
fn the_others_are_not_kept_when_one_fails_at_once() {
    let test = "the_others_are_not_kept_when_one_fails_at_once";
    let Some(scene) = Scene::new(test, &[("held", "stall_budget = 50\n")]) else { return };
    sqlite::make(&scene.file("bad.db"), Journal::Wal);
    let bad = scene.file("bad.db");
    let section = format!("[workload bad]\nworkload_name = hostile\ndbnames = {}\n", bad.display());
    scene.site.add_to_configuration(&section);
    scene.site.install_guest("fails-in-freeze");
    let writers = scene.writers();
    let _lock = sqlite::lock(&scene.file("held.db"));
    let began = Instant::now();
    let said = scene.site.json(&["run", "--", "true"]);
    let took = began.elapsed();
    writers.iter().for_each(|(_, w)| w.get_on(20));
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.workload("held")["reason"].as_str().unwrap().contains("because bad could not"), "{}", said.text);
    assert_nothing_is_left(&scene.site);
    for (name, writers) in writers {
        let log = writers.stop();
        let gap = log.longest_gap();
        eprintln!("{name}: longest gap {gap:?} of a cycle of {took:?}");
        assert!(log.errors.is_empty(), "{name}: {:?}", log.errors);
        assert!(gap < Duration::from_secs(10), "{name} stood still for {gap:?}");
    }
    // Not while writers hold it themselves.
    assert!(!sqlite::is_locked(&scene.file("app.db")) && !sqlite::is_locked(&bad));
}

/// Nobody stands still for one that has not come to its freeze yet, but for half of the time; and who waited for it still has
/// all of its own.
#[test]
fn one_that_takes_its_time_costs_the_others_half_of_it_at_most() {
    let test = "one_that_takes_its_time_costs_the_others_half_of_it_at_most";
    let Some(scene) = Scene::new(test, &[("*", "stall_budget = 8\n")]) else { return };
    let slow = scene.file("slow.db");
    sqlite::make(&slow, Journal::Wal);
    let section = format!("[workload slow]\nworkload_name = hostile\nstall_budget = 8\ndbnames = {}\n", slow.display());
    scene.site.add_to_configuration(&section);
    scene.site.install_guest("freezes-at-the-last-moment");
    let writers = scene.writers();
    let said = scene.site.json(&["run", "--", "true"]);
    said.assert_still();
    let took = said.workload("slow")["phases"]["freeze_us"].as_u64().unwrap();
    for name in ["shop", "cache", "app", "held"] {
        let stood = said.workload(name)["standstill_us"].as_u64().unwrap();
        assert!(stood < took * 3 / 4, "{name} stood still for {stood} µs, of {took}: {}", said.text);
    }
    // What they were refused meanwhile is no module's fault.
    assert!(scene.site.entries(&said).iter().all(|e| e["entry"] != "refusal"), "{:?}", scene.site.entries(&said));
    for (name, writers) in writers {
        let log = writers.stop();
        assert!(log.errors.is_empty(), "{name}: {:?}", log.errors);
        assert!(
            log.longest_gap() < Duration::from_micros(took * 3 / 4),
            "{name}: {:?} of {took} µs",
            log.longest_gap()
        );
    }
    assert_nothing_is_left(&scene.site);
}

/// `on_failure` is of the workload that fails: without that one the cycle goes on, and its verdict is the worst of all.
#[test]
fn on_failure_is_said_of_each() {
    let test = "on_failure_is_said_of_each";
    let more = [("held", "stall_budget = 1\non_failure = continue\n")];
    let Some(scene) = Scene::new(test, &more) else { return };
    let writers = scene.writers();
    let lock = sqlite::lock(&scene.file("held.db"));
    let began = Instant::now();
    let said = scene.site.freeze();
    let told = began.elapsed();
    assert_eq!(said.json["frozen"]["failed"][0]["workload"], "held", "{}", said.text);
    let status = scene.site.call(&["status"]);
    assert!(status.stdout.contains("frozen: app, cache, shop · without held"), "{status:?}");
    // One that is taken back only with the others has stood for longer than `told` by then.
    wait_until("the others were held for as long", || began.elapsed() > told * 2);
    let said = scene.site.json(&["thaw"]);
    assert_eq!((said.code, &said.json["verdict"]), (Some(5), &"failed".into()), "{}", said.text);
    let good = ["shop", "cache", "app"].map(|name| (name, "application-consistent"));
    assert_verdicts(&said, &[&good[..], &[("held", "failed")]].concat());
    let held = said.workload("held");
    let stood = Duration::from_micros(held["standstill_us"].as_u64().unwrap());
    assert!(stood < told, "it was taken back before the others were told to stand still, after {told:?}: {held}");
    let text = scene.site.call(&["run", "--", "true"]);
    assert_eq!(text.code, Some(5), "{text:?}");
    for line in ["✘ failed\n", "shop   application-consistent (still)", "held   failed: ", "tried to freeze"] {
        assert!(text.stdout.contains(line), "{line:?} is not in {}", text.stdout);
    }
    assert!(text.stderr.contains("ONLY app, cache, shop STANDS STILL"), "before the command begins: {}", text.stderr);
    drop(lock);

    // The same word in the others' sections does not excuse one that says nothing.
    let configuration = std::fs::read_to_string(scene.site.configuration()).unwrap();
    let others = configuration.replace("on_failure = continue\n", "");
    let others = ["workload_name = mariadb\n", "workload_name = redis\n"]
        .iter()
        .fold(others, |text, line| text.replace(line, &format!("{line}on_failure = continue\n")));
    scene.site.configure(&others);
    let lock = sqlite::lock(&scene.file("held.db"));
    let said = scene.site.json(&["run", "--", "true"]);
    said.assert_failed();
    drop(lock);
    assert_nothing_is_left(&scene.site);
    for (name, writers) in writers {
        writers.get_on(20);
        assert!(writers.stop().errors.is_empty(), "{name}");
    }
}

/// One of them is killed while it is held: of that one the truth is told, and of the others, too.
#[test]
fn one_that_is_killed_in_the_hold_lowers_its_own_verdict() {
    let test = "one_that_is_killed_in_the_hold_lowers_its_own_verdict";
    let Some(mut scene) = Scene::new(test, &[]) else { return };
    let [shop, cache, app] = scene.writers();
    scene.site.freeze();
    scene.shop.kill();
    let said = scene.site.json(&["thaw"]);
    said.assert_crash_consistent();
    let good = ["cache", "app", "held"].map(|name| (name, "application-consistent"));
    assert_verdicts(&said, &[&good[..], &[("shop", "crash-consistent")]].concat());
    assert!(!said.workload("shop")["reason"].as_str().unwrap().is_empty(), "{}", said.text);
    assert_nothing_is_left(&scene.site);
    for (_, writers) in [cache, app] {
        writers.get_on(20);
        assert!(writers.stop().errors.is_empty());
    }
    assert!(!sqlite::is_locked(&scene.file("held.db")));
    drop(shop);
    let shop = scene.shop.start_again();
    shop.sql("INSERT INTO app.writes VALUES (9, 1);");
}

/// An application that writes to both databases in one transaction, the first attached to the second or the second to the
/// first: what waits for one of them holds the other.
fn attached(main: &Path, other: &Path, count: u32) -> Writers {
    Writers::start(count, |writer, stop| {
        let mut connection = Connection::open(main).unwrap();
        connection.execute("ATTACH ?1 AS other", [other.to_str().unwrap()]).unwrap();
        // An application that never gives up what it has.
        sqlite::wait_as_long_as_it_takes(&mut connection, stop);
        Box::new(move |sequence| {
            let sequence = sequence.cast_signed();
            let both = || {
                connection.execute_batch("BEGIN IMMEDIATE")?;
                connection.execute("INSERT INTO main.writes VALUES (?1, ?2)", (writer, sequence))?;
                connection.execute("INSERT INTO other.writes VALUES (?1, ?2)", (writer, sequence))?;
                connection.execute_batch("COMMIT")
            };
            both().map_err(|e: rusqlite::Error| e.to_string())
        })
    })
}

/// All files of one workload are locked together: a transaction over both is in both copies or in none.
#[test]
fn sqlite_transactions_over_attached_files_are_whole() {
    let test = "sqlite_transactions_over_attached_files_are_whole";
    for (journal, in_order) in [(Journal::Wal, true), (Journal::Wal, false), (Journal::Rollback, false)] {
        let Some(volume) = Volume::make(test) else { return };
        let names = ["orders.db", "stock.db"];
        let [orders, stock] = names.map(|name| volume.data().join(name));
        sqlite::make(&orders, journal);
        sqlite::make(&stock, journal);
        let site = Site::with(&format!(
            "[workload app]\nworkload_name = sqlite\ndbnames = {}, {}\ntimeout = 60\nstall_budget = 30\n",
            orders.display(),
            stock.display()
        ));
        let (first, second) = if in_order { (&orders, &stock) } else { (&stock, &orders) };
        // With a rollback journal writers find their turn by chance.
        let writers = attached(first, second, if journal == Journal::Wal { 2 } else { 1 });
        writers.get_on(20);
        for round in 0..2 {
            let what = format!("{journal:?}, in order: {in_order}, round {round}");
            let said = site.json(&["freeze"]);
            assert_eq!(said.code, Some(0), "{what}: {}", said.text);
            let frozen = Instant::now();
            assert!(sqlite::is_locked(&orders) && sqlite::is_locked(&stock));
            let snapshot = volume.snapshot(&format!("copy{round}"));
            let window = Window { frozen, thaw_asked: Instant::now() };
            let said = site.json(&["thaw"]);
            said.assert_still();
            writers.get_on(5);
            let rows = names.map(|name| sqlite::rows(&snapshot.join(name)));
            let log = writers.log();
            assert_eq!(rows[0], rows[1], "{what}: a transaction is in one of both");
            assert_same(&what, &log, window, &rows[0]);
        }
        drop(writers.stop());
    }
}
