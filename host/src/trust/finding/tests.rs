use std::path::Path;

use super::*;
use crate::trust::page::Page;

fn source(module: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules").join(module).join("module.toml");
    std::fs::read_to_string(path).expect("readable")
}

/// What is found when one thing of a good module is replaced; nothing else is there to find.
fn found(module: &str, from: &str, to: &str) -> Vec<Finding> {
    let text = source(module);
    assert!(text.contains(from), "the test replaces what is not there: {from}");
    let before = findings(&Manifest::parse(&text).expect("good"));
    let after = findings(&Manifest::parse(&text.replacen(from, to, 1)).unwrap_or_else(|e| panic!("{to}: {e}")));
    after.into_iter().filter(|f| !before.contains(f)).collect()
}

#[test]
fn what_an_author_could_hide_beside_the_statements_is_found() {
    let mariadb = [
        ("\"--force\"", "\"--force\", \"--init-command=DROP TABLE t\"", "client.arguments", "runs a statement"),
        ("\"--force\"", "\"--init_comm=DROP TABLE t\"", "client.arguments", "runs a statement"),
        ("\"--force\"", "\"--loose-init-command=DROP TABLE t\"", "client.arguments", "runs a statement"),
        ("\"--force\"", "\"-fe DROP TABLE t\"", "client.arguments", "short options"),
        ("\"--force\"", "\"--pager=sh\"", "client.arguments", "runs a program"),
        ("\"--force\"", "\"--plugin-dir=/tmp\"", "client.arguments", "loads a library"),
        ("\"--force\"", "\"--defaults-extra-file=/tmp/a\"", "client.arguments", "another file"),
        ("\"--force\"", "\"--local-infile\"", "client.arguments", "read files"),
        ("--defaults-file={login}", "--defaults-extra-file={login}", "client.login", "does not know"),
        ("[\"mariadb\", \"mysql\"]", "[\"mariadb\", \"sqlite3\"]", "client.programs", "different databases"),
        ("[\"mariadb\", \"mysql\"]", "[\"mariadb\", \"bash\"]", "client.programs", "whatever it is given"),
        ("[\"mariadb\", \"mysql\"]", "[\"mariadb\", \"python3.11\"]", "client.programs", "whatever it is given"),
        ("= \"SELECT '{tag}'\"", "= \"SELECT '{tag}'; DROP TABLE t\"", "client.tag", "sent after each"),
        ("end              = \";\"", "end              = \"; DROP TABLE t;\"", "client.end", "sent after each"),
        ("'^ERROR (?<code>", "'^NEVER (?<code>", "client.error", "passes over errors"),
        ("contributor@stillpoint.example", "\u{430}na@stillpoint.example", "authors", "beyond ASCII"),
        (
            "\"SELECT CONNECTION_ID()\"",
            "\"SELECT MIN(id) FROM information_schema.processlist\"",
            "statements.connection_id",
            "cancelled",
        ),
        ("\"SELECT CONNECTION_ID()\"", "\"SELECT 1\"", "statements.stage_start", "proves nothing"),
        ("\"BACKUP STAGE END\"", "\"SELECT 1\"", "statements.stage_start", "undoes nothing"),
        ("\"BACKUP STAGE END\"", "\"DO 0\"", "statements.stage_start", "undoes nothing"),
        (
            "\"BACKUP STAGE END\"",
            "\"UNLOCK TABLES\"",
            "statements.stage_block_commit",
            "not what takes this freeze back",
        ),
        ("\"BACKUP STAGE START\"", "\"BACKUP STAGE BLOCK_COMMIT\"", "statements.stage_start", "declared to stop"),
        (
            "\"BACKUP STAGE BLOCK_COMMIT\"",
            "\"FLUSH TABLES WITH READ LOCK\"",
            "statements.stage_block_commit",
            "not what takes this freeze back",
        ),
        ("lasts   = \"session\"", "lasts   = \"server\"", "statements.stage_start", "declared to last"),
        ("stops   = \"ddl\"", "stops   = \"ddl\"\nrecoverable = true", "statements.stage_start", "recoverable"),
        (
            "\"SELECT @@innodb_flush_log_at_trx_commit IN (1, 3) AND",
            "\"SELECT 1 OR SLEEP(9) AND",
            "statements.durable",
            "SLEEP",
        ),
    ];
    let sqlite = [
        ("\"-safe\", ", "", "client.arguments", "without -safe"),
        ("\"/dev/null\"", "\"/tmp/rc\"", "client.arguments", "-init"),
        ("\"-batch\"", "\"-batch\", \"-cmd\", \".shell id\"", "client.arguments", "-cmd"),
        ("\"-batch\"", "\"-batch\", \"--cmd\", \".shell id\"", "client.arguments", "--cmd"),
        ("\"{database}\"", "\"{database}\", \".shell id\"", "client.arguments", "is run"),
    ];
    let oracle = [
        ("environment      = {", "environment      = { TNS_ADMIN = \"/tmp\",", "client.environment", "does not know"),
        ("\"SET ECHO OFF\"", "\"SET ERRORLOGGING ON TABLE t\"", "client.setup", "does not know"),
    ];
    let cases = mariadb.iter().map(|c| ("mariadb", c)).chain(sqlite.iter().map(|c| ("sqlite", c)));
    let cases = cases.chain(oracle.iter().map(|c| ("oracle", c)));
    for (module, (from, to, at, words)) in cases {
        let found = found(module, from, to);
        let hit = found.iter().any(|f| f.at == *at && f.words.contains(words) && f.severity <= Severity::Look);
        assert!(hit, "{to}: {found:#?}");
    }
}

/// Whatever the page calls believed.
#[test]
fn an_answer_that_asks_nothing_is_not_believed() {
    let mut seen = BTreeSet::new();
    for module in ["mariadb", "mysql", "oracle", "postgres", "redis", "firebird", "sqlite"] {
        let good = Manifest::parse(&source(module)).expect("good");
        for believed in Page::of(&good, None, None).believed {
            let mut manifest = good.clone();
            manifest.statements.get_mut(&believed.statement).expect("there").text = "SELECT 1".into();
            let at = format!("statements.{}", believed.statement);
            let is = |f: &Finding| f.at == at && f.severity == Severity::Danger && f.words.contains("server");
            let found = findings(&manifest);
            assert!(found.iter().any(is), "{module}: {}: {found:#?}", believed.what);
            seen.insert(believed.what);
        }
    }
    assert_eq!(seen.len(), 10, "no module has one of them: {seen:#?}");
}

/// The same text answers much: what is asked of it is in the columns.
#[test]
fn a_proof_that_asks_for_too_little_is_a_danger() {
    for (column, kind) in [("aof_buffer_length", "integer"), ("rdb_saves", "integer"), ("evicted_keys", "integer")] {
        let from = format!("    {{ name = \"{column}\", type = \"{kind}\" }},\n    {{ name = ");
        let all = source("redis");
        // Of the proofs, which stand behind the other reads.
        let at = all.rfind(&from).expect("a proof asks for it");
        let without = [&all[..at], "    { name = ", &all[at + from.len()..]].concat();
        let told = findings(&Manifest::parse(&without).expect("good"));
        let is = |f: &Finding| f.severity == Severity::Danger && f.words.contains(&format!("without {column}"));
        assert!(told.iter().any(is), "{column}: {told:?}");
    }
}

#[test]
fn letters_that_look_like_others_are_a_danger() {
    let oracle = found("oracle", "AMERICAN_AMERICA", "\u{410}MERICAN_AMERICA");
    assert!(oracle.iter().any(|f| f.at == "client.environment" && f.words.contains("beyond ASCII")), "{oracle:#?}");
    let mut manifest = Manifest::parse(&source("mariadb")).expect("good");
    manifest.client.setup.push("SET \u{410}".into());
    let step = manifest.recovery.as_mut().and_then(|r| r.steps.iter_mut().find_map(|s| s.run.as_mut())).expect("one");
    *step = step.replacen('c', "\u{441}", 1);
    let found = findings(&manifest);
    for at in ["client.setup", "recovery.steps"] {
        assert!(found.iter().any(|f| f.at == at && f.words.contains("beyond ASCII")), "{at}: {found:#?}");
    }
}

#[test]
fn an_undo_that_leaves_a_part_is_a_danger() {
    let frozen = "SET GLOBAL read_only = 1, GLOBAL event_scheduler = 0";
    let found = found("mariadb", "text    = \"BACKUP STAGE START\"", &format!("text    = \"{frozen}\""));
    assert!(found.iter().any(|f| f.words.contains("leaves READ_ONLY")), "{found:#?}");
}

#[test]
fn an_undo_takes_back_what_was_there_before() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/read-only/module.toml");
    let mut manifest = Manifest::parse(&std::fs::read_to_string(path).expect("readable")).expect("good");
    for text in ["SELECT 0", "SELECT @@GLOBAL.event_scheduler"] {
        manifest.statements.get_mut("read_only").expect("there").text = text.into();
        let found = findings(&manifest);
        let words = "sets READ_ONLY to what read_only answers, which is not what it was";
        assert!(found.iter().any(|f| f.severity == Severity::Danger && f.words.contains(words)), "{text}: {found:#?}");
    }
}

#[test]
fn privileges_beyond_a_backup_are_a_danger() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/mariadb/module.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let (from, to) = (text.find("[privileges]").unwrap(), text.find("[identity]").unwrap());
    let own = text[from..to].to_owned();
    for (privileges, words) in [
        ("make = [\"GRANT ALL PRIVILEGES ON *.* TO {user}\"]\nneeded = {}", "gives ALL"),
        ("make = [\"GRANT RELOAD, SUPER ON *.* TO {user}\"]\nneeded = {}", "gives SUPER"),
        ("make = [\"GRANT RELOAD ON *.* TO {user} WITH GRANT OPTION\"]\nneeded = {}", "gives GRANT"),
        ("make = [\"CREATE USER {user} IDENTIFIED BY 'known'\"]\nneeded = {}", "known to everybody"),
        ("make = [\"GRANT RELOAD ON *.* TO {user} ; GRANT SUPER ON *.* TO mallory\"]\nneeded = {}", "more than one"),
        ("make = [\"GRANT RELOAD ON *.* TO 'mallory'@'%'\"]\nneeded = {}", "somebody else"),
        ("make = [\"DROP DATABASE shop\"]\nneeded = {}", "makes no login"),
        ("make = []\nneeded = { \"SUPER ON *.*\" = { why = \"to freeze\" } }\nheld = \"privileges\"", "far more"),
        ("make = []\nneeded = {}\nusual = [\"SUPER\"]", "go unseen"),
    ] {
        let found = found("mariadb", &own, &format!("[privileges]\n{privileges}\n\n"));
        assert!(found.iter().any(|f| f.words.contains(words)), "{privileges}: {found:#?}");
    }
    let good = "[privileges]\nmake = [\"CREATE USER {user}@'localhost' IDENTIFIED VIA unix_socket\", \"GRANT RELOAD, PROCESS ON *.* TO {user}\"]\nneeded = { RELOAD = { why = \"to freeze\" } }\nusual = [\"USAGE\"]\nheld = \"privileges\"\n\n";
    assert!(found("mariadb", &own, good).is_empty());
}

#[test]
fn what_outlasts_a_crash_is_noted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/read-only/module.toml");
    let found = findings(&Manifest::parse(&std::fs::read_to_string(path).expect("readable")).expect("good"));
    assert!(
        found.iter().any(|f| f.at == "statements.set_read_only" && f.words.contains("outlasts a crash")),
        "{found:#?}"
    );
    assert!(found.iter().all(|f| f.severity > Severity::Danger), "{found:#?}");
}
