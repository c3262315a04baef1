//! Every cycle leaves a record that says what was sent and what was refused, that holds no secret and no row, and that
//! nobody changes unseen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::program::succeed;
use stillpoint_tests::said::Said;
use stillpoint_tests::site::Site;
use stillpoint_tests::sqlite::{self, Journal};
use stillpoint_tests::wait_until;
use tempfile::TempDir;

/// A SQLite database without writers, so that no statement has to be asked twice.
fn scene(more: &str) -> (Site, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.db");
    sqlite::make(&file, Journal::Wal);
    let site = Site::with(&format!(
        "[workload app]\nworkload_name = sqlite\ndbnames = {}\ntimeout = 60\n{more}",
        file.display()
    ));
    (site, folder)
}

fn cycle(site: &Site) -> Said {
    let said = site.json(&["run", "--", "true"]);
    assert_eq!((said.code, said.faults().len()), (Some(0), 0), "{}", said.text);
    said
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// As somebody without this program takes it.
fn sha256(text: &str) -> String {
    succeed(&mut Command::new("sha256sum"), text).split_whitespace().next().unwrap().to_owned()
}

fn of<'e>(entries: &'e [Value], kind: &str) -> Vec<&'e Value> {
    entries.iter().filter(|e| e["entry"] == kind).collect()
}

/// The statements that this sender had sent, each with its phase.
fn sent<'e>(entries: &'e [Value], by: &str) -> Vec<(&'e str, &'e str)> {
    let all = of(entries, "statement").into_iter().filter(|e| e["by"] == by);
    all.map(|e| (word(e, "phase"), word(e, "name"))).collect()
}

fn verify(site: &Site, head: Option<&str>) -> Said {
    match head {
        Some(head) => site.json(&["record", "verify", "--head", head]),
        None => site.json(&["record", "verify"]),
    }
}

fn assert_good(site: &Site, head: Option<&str>) {
    let said = verify(site, head);
    assert_eq!((said.code, &said.json["good"]), (Some(0), &Value::Bool(true)), "{}", said.text);
}

#[test]
fn a_cycle_leaves_every_statement_in_its_order_and_hands_its_head_out() {
    let (site, folder) = scene("");
    let listener = site.listen();
    let said = site.json(&["run", "--", "sleep", "0.3"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let heard = listener.until_the_verdict();
    let mut events = heard.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let event = events.find(|e| e["type"] == "dev.stillpoint.cycle.verdict.v1").unwrap();

    let file = site.chain(&said);
    let text = std::fs::read_to_string(&file).unwrap();
    let entries = site.entries(&said);
    assert_eq!(
        sent(&entries, "module"),
        [
            ("check", "busy_timeout"),
            ("check", "version"),
            ("check", "journal_mode"),
            ("prepare", "checkpoint"),
            ("prepare", "busy_timeout"),
            ("freeze", "begin_immediate"),
            ("thaw", "rollback"),
        ],
        "{text}"
    );
    // What the host asked by itself: whether it is durable, and the proof before and after.
    let host = sent(&entries, "host");
    assert!(
        host.iter().any(|(phase, _)| *phase == "freeze") && host.iter().any(|(phase, _)| *phase == "thaw"),
        "{host:?}"
    );
    let begin = of(&entries, "statement").into_iter().find(|e| e["name"] == "begin_immediate").unwrap();
    assert_eq!(word(begin, "text_sha256"), sha256("BEGIN IMMEDIATE"), "{begin}");
    assert_eq!(begin["database"].as_str(), folder.path().join("app.db").to_str(), "{begin}");
    assert_eq!((&begin["linux_user"], &begin["outcome"]["rows"]), (&"root".into(), &0.into()), "{begin}");
    assert!(begin["took_us"].as_u64().is_some_and(|us| us > 0), "{begin}");
    let published: Vec<&str> = of(&entries, "event").iter().map(|e| word(e, "event")).collect();
    assert_eq!(published, ["cycle.check", "cycle.prepare", "cycle.freeze", "cycle.frozen", "cycle.thawed"]);
    let undo = of(&entries, "undo");
    assert_eq!((undo.len(), word(undo[0], "froze"), word(undo[0], "how")), (1, "begin_immediate", "by the module"));
    let last = entries.last().unwrap();
    assert_eq!((word(last, "entry"), word(last, "verdict")), ("verdict", "application-consistent"));

    let head = sha256(&format!("{}\n", text.lines().last().unwrap()));
    assert_eq!(word(&said.json, "head"), head);
    assert_eq!(word(&event["data"], "head"), head);
    let kept = std::fs::read_to_string(site.path("lib/records/head")).unwrap();
    assert_eq!(kept, format!("{} {head}\n", said.cycle()));
    let summary = std::fs::read_to_string(file.with_extension("json")).unwrap();
    assert!(summary.contains(&head), "{summary}");
    assert_good(&site, Some(&head));

    let shown = site.call(&["record", "show"]);
    assert!(
        shown.code == Some(0) && shown.stdout.contains(&head) && shown.stdout.contains("begin_immediate"),
        "{shown:?}"
    );
    let shown = site.json(&["record", "show", said.cycle()]);
    assert_eq!((&shown.json["whole"], shown.json["entries"].as_array().unwrap()), (&Value::Bool(true), &entries));
    for named in ["../head", "0000", ""] {
        assert_eq!(site.json(&["record", "show", named]).code, Some(2), "{named}");
    }
    assert_eq!(site.json(&["record", "verify", "--head", "3f2a"]).code, Some(2));
}

#[test]
fn what_a_module_may_not_have_is_written_down() {
    let (site, folder) = scene("");
    let file = folder.path().join("app.db");
    site.configure(&format!("[workload bad]\nworkload_name = hostile\ndbnames = {}\ntimeout = 60\n", file.display()));
    site.install_guest("runs-what-is-not-declared");
    let said = site.json(&["run", "--", "true"]);
    let chain = site.chain(&said);
    let entries = site.entries(&said);
    let refusals = of(&entries, "refusal");
    for phase in ["check", "freeze"] {
        let of_phase: Vec<_> = refusals.iter().filter(|e| e["phase"] == phase).collect();
        assert_eq!(of_phase.len(), 8, "{refusals:#?}");
        assert!(of_phase.iter().all(|e| e["workload"] == "bad" && e["why"] == "not declared"), "{of_phase:#?}");
        assert!(of_phase.iter().any(|e| e["asked"] == "drop_table"), "{of_phase:#?}");
        // What is no plain word is not repeated, and can be told all the same.
        let digest = sha256("DROP TABLE canary");
        assert!(of_phase.iter().any(|e| e["asked"] == "" && e["asked_sha256"] == digest.as_str()), "{of_phase:#?}");
    }
    assert!(!std::fs::read_to_string(&chain).unwrap().contains("canary"));
    assert_good(&site, said.json["head"].as_str());
}

/// Each has an entry, so there is an end to them.
#[test]
fn a_module_may_not_send_statements_without_end() {
    let (site, folder) = scene("");
    let file = folder.path().join("app.db");
    site.configure(&format!(
        "[workload bad]\nworkload_name = hostile\ndbnames = {}\ntimeout = 60\nstall_budget = 50\n",
        file.display()
    ));
    site.install_guest("repeats-a-statement-without-end");
    let said = site.json(&["run", "--", "true"]);
    assert!(said.code == Some(4) && said.text.contains("more than 10000 statements"), "{}", said.text);
    assert!(!sqlite::is_locked(&file));
    let entries = site.entries(&said);
    assert_eq!(sent(&entries, "module").len(), 10_000);
    let refused: Vec<&str> = of(&entries, "refusal").iter().map(|e| word(e, "asked")).collect();
    // Its own rollback is one too many as well; the host's is not.
    assert_eq!(refused, ["data_version", "rollback"]);
    assert!(sent(&entries, "host").contains(&("thaw", "rollback")));
    assert_good(&site, said.json["head"].as_str());
}

#[test]
fn neither_a_password_nor_a_row_is_in_it() {
    const SECRET: &str = "s3cr3t-Kq7wZ";
    let test = "neither_a_password_nor_a_row_is_in_it";
    let Some(server) = MariaDb::private(test, &[]) else { return };
    server.make_table();
    server
        .sql(&format!("CREATE USER backup@localhost IDENTIFIED BY '{SECRET}'; GRANT ALL ON *.* TO backup@localhost;"));
    let site = Site::with(&format!(
        "[workload shop]\nworkload_name = mariadb\ncredString = -u backup -p{SECRET} -S {}\ntimeout = 60\n",
        server.socket().display()
    ));
    let said = cycle(&site);
    let chain = site.chain(&said);
    let (text, entries) = (std::fs::read_to_string(&chain).unwrap(), site.entries(&said));
    // What the module was told, in rows: where the data lies, which version it is, the time zone of its log.
    let told = server.sql("SELECT @@datadir; SELECT VERSION(); SELECT @@character_set_server;");
    let rows: Vec<&str> = told.lines().filter(|l| l.len() > 3).collect();
    assert!(rows.len() >= 2, "{told}");
    for planted in rows.iter().copied().chain([SECRET]) {
        assert!(!text.contains(planted), "{planted} is in {text}");
    }
    for point in said.json["workloads"][0]["point"].as_array().unwrap() {
        let value = word(point, "value");
        assert!(value.len() < 4 || !text.contains(value), "{value} is in {text}");
    }
    let statements = of(&entries, "statement");
    assert!(
        statements.len() > 10 && statements.iter().all(|s| s["login"] == "backup" && s["workload"] == "shop"),
        "{text}"
    );
    let module = sent(&entries, "module");
    assert!(module.iter().any(|(phase, _)| *phase == "freeze"), "{module:?}");
    assert_good(&site, said.json["head"].as_str());

    // Also in a statement that fails, whose words may quote what was sent.
    server.sql("DROP USER backup@localhost; CREATE USER backup@localhost IDENTIFIED BY 'another';");
    let said = site.json(&["run", "--", "true"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    let text = std::fs::read_to_string(site.chain(&said)).unwrap();
    assert!(text.contains("\"lost\"") || text.contains("\"error\""), "{text}");
    assert!(!text.contains(SECRET) && !text.contains("Access denied"), "{text}");
    assert_good(&site, said.json["head"].as_str());
}

/// A copy of all records, put back after each change.
struct Kept<'s> {
    site: &'s Site,
    copy: TempDir,
}

impl Kept<'_> {
    fn of(site: &Site) -> Kept<'_> {
        let copy = tempfile::tempdir().unwrap();
        succeed(Command::new("cp").arg("-a").arg(site.path("lib/records")).arg(copy.path()), "");
        Kept { site, copy }
    }

    fn put_back(&self) {
        std::fs::remove_dir_all(self.site.path("lib/records")).unwrap();
        succeed(Command::new("cp").arg("-a").arg(self.copy.path().join("records")).arg(self.site.path("lib")), "");
    }
}

#[test]
fn whatever_is_changed_is_named() {
    let (site, _folder) = scene("");
    let cycles = [cycle(&site), cycle(&site), cycle(&site)];
    let ids: Vec<&str> = cycles.iter().map(|c| c.cycle()).collect();
    let files: Vec<PathBuf> = cycles.iter().map(|c| site.chain(c)).collect();
    for said in &cycles {
        assert_good(&site, said.json["head"].as_str());
    }
    let kept = Kept::of(&site);
    let edit = |which: usize, how: &dyn Fn(&mut Vec<String>)| {
        let mut lines: Vec<String> =
            std::fs::read_to_string(&files[which]).unwrap().split_inclusive('\n').map(str::to_owned).collect();
        how(&mut lines);
        std::fs::write(&files[which], lines.concat()).unwrap();
    };
    let failed = |lines: &mut Vec<String>, at: usize| lines[at] = lines[at].replace("\"rows\":0", "\"rows\":1");
    type Change<'c> = Box<dyn Fn() + 'c>;
    // What is done, in which cycle that shows, and at which entry.
    let changes: Vec<(&str, Change<'_>, usize, Option<u64>)> = vec![
        ("an entry is edited", Box::new(|| edit(1, &|l| l[4] = l[4].replace("root", "nobody"))), 1, Some(5)),
        ("an outcome is edited", Box::new(|| edit(0, &|l| (0..l.len()).for_each(|i| failed(l, i)))), 0, None),
        ("an entry is removed", Box::new(|| edit(1, &|l| drop(l.remove(3)))), 1, Some(4)),
        ("two entries change places", Box::new(|| edit(2, &|l| l.swap(3, 4))), 2, Some(4)),
        ("an entry is doubled", Box::new(|| edit(0, &|l| l.insert(2, l[2].clone()))), 0, Some(4)),
        (
            "half an entry is missing at the end",
            Box::new(|| edit(2, &|l| drop(l.last_mut().unwrap().split_off(20)))),
            2,
            None,
        ),
        ("the verdict of an old cycle is missing", Box::new(|| edit(0, &|l| drop(l.pop()))), 0, None),
        ("the verdict of the newest is missing", Box::new(|| edit(2, &|l| drop(l.pop()))), 2, None),
        (
            "the verdict is edited",
            Box::new(|| {
                edit(2, &|l| {
                    let last = l.last_mut().unwrap();
                    *last = last.replace("application-consistent", "crash-consistent");
                })
            }),
            2,
            None,
        ),
        ("a cycle is emptied", Box::new(|| std::fs::write(&files[1], "").unwrap()), 1, None),
        ("the oldest cycle is removed", Box::new(|| std::fs::remove_file(&files[0]).unwrap()), 0, None),
        ("a cycle between is removed", Box::new(|| std::fs::remove_file(&files[1]).unwrap()), 1, None),
        ("the newest cycle is removed", Box::new(|| std::fs::remove_file(&files[2]).unwrap()), 2, None),
        (
            "one cycle stands in the place of another",
            Box::new(|| assert!(std::fs::copy(&files[0], &files[1]).is_ok())),
            1,
            Some(1),
        ),
        (
            "a foreign cycle is put beside",
            Box::new(|| {
                assert!(std::fs::copy(&files[0], site.path("lib/records/0badcafe.chain")).is_ok());
            }),
            3,
            Some(1),
        ),
    ];
    for (what, change, which, entry) in changes {
        change();
        let said = verify(&site, None);
        kept.put_back();
        assert_eq!((said.code, &said.json["good"]), (Some(3), &Value::Bool(false)), "{what}: {}", said.text);
        let problems = said.json["report"]["problems"].as_array().unwrap().clone();
        let cycle = ids.get(which).copied().unwrap_or("0badcafe");
        let named = problems.iter().any(|p| p["cycle"] == cycle && entry.is_none_or(|e| p["entry"] == e));
        assert!(named, "{what}, in {cycle} at {entry:?}: {problems:#?}");
        assert_good(&site, None);
    }
    for file in ["nothing", "0badcafe 00"] {
        std::fs::write(site.path("lib/records/head"), file).unwrap();
        assert_eq!(verify(&site, None).code, Some(3), "{file}");
        kept.put_back();
    }
    // In words, for people.
    edit(1, &|l| drop(l.remove(3)));
    let said = site.call(&["record", "verify"]);
    assert!(said.code == Some(3) && said.stdout.contains(ids[1]) && said.stdout.contains("entry 4"), "{said:?}");
}

/// Root writes the whole chain anew, so that it hangs together: a head kept elsewhere tells.
#[test]
fn a_chain_that_was_written_anew_is_told_by_a_head_kept_elsewhere() {
    let (site, _folder) = scene("");
    let cycles = [cycle(&site), cycle(&site), cycle(&site)];
    let heads: Vec<&str> = cycles.iter().map(|c| word(&c.json, "head")).collect();
    // The second cycle froze something else; everything behind it follows.
    let mut previous = heads[0].to_owned();
    for said in &cycles[1..] {
        let file = site.chain(said);
        let mut out = String::new();
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let old = &line[line.find("\"previous\":\"").unwrap() + 12..][..64];
            let mut line = line.replace(old, &previous);
            if said.json == cycles[1].json {
                line = line.replace("begin_immediate", "begin_deferred");
            }
            line.push('\n');
            previous = sha256(&line);
            out += &line;
        }
        std::fs::write(file, out).unwrap();
    }
    let head = format!("{} {previous}\n", cycles[2].cycle());
    std::fs::write(site.path("lib/records/head"), head).unwrap();
    // It hangs together, and the cycle before it is what it was.
    assert_good(&site, None);
    assert_good(&site, Some(heads[0]));
    for head in &heads[1..] {
        let said = verify(&site, Some(head));
        assert_eq!(said.code, Some(3), "{}", said.text);
        assert!(said.text.contains("is not here, or was changed"), "{}", said.text);
    }
}

#[test]
fn a_keeper_that_was_lost_leaves_a_record_that_has_an_end() {
    let (site, _folder) = scene("");
    let old = cycle(&site);
    for (by, both) in [("guard", false), ("recovery", true)] {
        let id = site.freeze().json["frozen"]["cycle"].as_str().unwrap().to_owned();
        if both {
            site.kill_keeper_and_guard();
            // Nobody has ended it: that shows, once the kernel has closed what the keeper listened on.
            wait_until("it shows", || verify(&site, None).code == Some(3));
            let said = site.json(&["recover"]);
            assert_eq!((said.code, said.cycle()), (Some(5), &*id), "{}", said.text);
        } else {
            site.kill_keeper();
            site.wait_for_the_end();
        }
        assert_good(&site, old.json["head"].as_str());
        let shown = site.json(&["record", "show"]);
        let entries = shown.json["entries"].as_array().unwrap();
        let record = site.records().into_iter().find(|r| r["cycle"] == *id).unwrap();
        assert_eq!(record["began_at"], entries[0]["at"], "{record}");
        // What was sent in check had been written down.
        assert!(sent(entries, "module").contains(&("check", "version")), "{shown:?}");
        let lost = of(entries, "lost");
        assert_eq!((lost.len(), word(lost[0], "by")), (1, by), "{shown:?}");
        let undo = of(entries, "undo");
        assert!(
            undo.iter().any(|u| u["by"] == by && u["froze"] == "begin_immediate" && u["how"] != "failed"),
            "{undo:?}"
        );
        let last = entries.last().unwrap();
        assert_eq!((word(last, "entry"), word(last, "verdict")), ("verdict", "crash-consistent"), "{last}");
        // The agent is told the head of that.
        if !both {
            let said = site.json(&["thaw"]);
            assert_eq!(said.json["head"], shown.json["head"], "{}", said.text);
        }
    }
    let said = cycle(&site);
    assert_good(&site, said.json["head"].as_str());
}

/// Under way it has no verdict yet, and that is no fault.
#[test]
fn a_record_can_be_verified_while_its_cycle_holds() {
    let (site, _folder) = scene("");
    site.freeze();
    let status = site.json(&["status"]);
    let said = verify(&site, None);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(said.json["report"]["under_way"], status.json["under_way"]["cycle"], "{}", said.text);
    let said = site.json(&["thaw"]);
    assert_good(&site, said.json["head"].as_str());
}

#[test]
fn as_many_are_kept_as_the_configuration_says() {
    let (site, folder) = scene("keep_records = 2\n");
    let cycles: Vec<Said> = (0..4).map(|_| cycle(&site)).collect();
    let names = |end: &str| {
        let all = std::fs::read_dir(site.path("lib/records")).unwrap().map(|e| e.unwrap().path());
        all.filter(|p| p.extension().is_some_and(|e| e == end)).count()
    };
    assert_eq!((names("chain"), names("json")), (2, 2));
    for (n, said) in cycles.iter().enumerate() {
        let verified = verify(&site, said.json["head"].as_str());
        assert_eq!(verified.code, Some(if n < 2 { 3 } else { 0 }), "{n}: {}", verified.text);
    }
    let newest = site.entries(&cycles[3]);
    let removed = of(&newest, "retention")[0]["removed"].as_array().unwrap();
    assert_eq!((removed[0]["cycle"].clone(), removed.len()), (cycles[1].json["cycle"].clone(), 1));
    // One more that is missing was not let go by us.
    let gone = site.chain(&cycles[2]);
    std::fs::remove_file(gone).unwrap();
    let said = verify(&site, None);
    assert!(said.code == Some(3) && said.text.contains(cycles[2].cycle()), "{}", said.text);
    // Nothing is let go because of that, and the gap stays.
    cycle(&site);
    assert_eq!(verify(&site, None).code, Some(3));
    drop(folder);
}

#[test]
fn nothing_was_recorded_yet() {
    let site = Site::new();
    let said = site.call(&["record", "verify"]);
    assert!(said.code == Some(0) && said.stdout.contains("no cycle is recorded"), "{said:?}");
    assert_eq!(site.json(&["record", "show"]).code, Some(2));
    assert_eq!(verify(&site, Some(&"a".repeat(64))).code, Some(3));
}
