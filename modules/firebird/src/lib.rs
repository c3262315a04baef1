//! Firebird: each database in its backup mode (`ALTER DATABASE BEGIN BACKUP`), in which its file stands still and all that
//! is written goes into another one.
//!
//! The mode lasts on disk, so everything here is about whose it is: one that somebody else began is never ended.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The module.
pub struct Firebird;

/// A transaction that is older than this is worth a line in the report, in seconds.
const LONG: i64 = 30;

/// So many transactions behind is a database that is not cleaned up any more.
const BEHIND: i64 = 100_000;

/// The catalogue says what the state does not.
const MARKED: &str = "comes to the end of its last backup mode, or was interrupted while it took back what was written";

impl Workload for Firebird {
    fn check(cx: &Check) -> Result<()> {
        cx.require(
            !cx.databases().is_empty(),
            "no database is named: list their paths or aliases under  dbnames =  in the configuration",
        )?;
        for database in cx.databases() {
            look_at(cx, database).map_err(|e| e.context(database))?;
        }
        if cx.snapshot() != Snapshot::Atomic {
            cx.note(
                "only the databases' own files stand still: in what is restored, delete each .delta file before a server \
                 opens the database, and run  nbackup -F  on it (README.md, \"Restoring\")",
            );
        }
        Ok(())
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        for database in cx.databases() {
            // In this order: while the mark stands nobody can begin, so with a state of 0 it is nobody's.
            let marked = sql::marked(cx, database)?.one()?.marks > 0;
            if marked && sql::backup_state(cx, database)?.one()?.state == 0 {
                // Whoever is about to end it himself comes first, and then this is an error; freeze looks again.
                if let Err(e) = sql::end_backup(cx, database) {
                    log::info(format_args!("{database}: the mark of its last backup mode: {e}"));
                }
            }
        }
        Ok(())
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        let mut point = RecoveryPoint::new();
        for database in cx.databases() {
            begin(cx, database).map_err(|e| e.context(database))?;
            let position = sql::position(cx, database)?.one()?;
            let several = cx.databases().len() > 1;
            let name = |what: &str| if several { format!("{database}: {what}") } else { what.to_owned() };
            point = point
                .and(name("next transaction"), position.next)
                .and(name("oldest active transaction"), position.oldest_active)
                .and(name("created"), position.created);
        }
        Ok(point)
    }

    fn thaw(_: &Thaw) -> Result<()> {
        // Bringing the pages back takes as long as it takes, and the server goes on with it when nobody waits: so it is
        // left to the host, which asks in the other session whether it is under way.
        Ok(())
    }
}

fn look_at(cx: &Check, database: &str) -> Result<()> {
    let version = sql::version(cx, database)?.one()?.text;
    let major = version.split('.').next().and_then(|m| m.parse::<u32>().ok()).unwrap_or_default();
    cx.require(major >= 3, format_args!("the rights and tables used here are those of Firebird 3; this is {version}"))?;
    let now = sql::settings(cx, database)?.one()?;
    cx.version(format!("{version}, ODS {}.{}", now.ods_major, now.ods_minor));
    let marked = sql::marked(cx, database)?.one()?.marks > 0;
    match now.state {
        0 if marked => cx.note(format_args!("{database} {MARKED}: prepare takes away the mark that is left")),
        0 => {}
        1 => cx.problem(format_args!(
            "{database} is in backup mode already: by nbackup, by another tool, or because a snapshot was restored. It is \
             left alone; who began it ends it (nbackup -N, or ALTER DATABASE END BACKUP)"
        )),
        _ => cx.problem(format_args!(
            "{database} is still taking back what was written during the last backup mode: wait until that is done"
        )),
    }
    if now.read_only == 1 {
        cx.problem(format_args!(
            "{database} is read-only: it stands still anyway, and the server refuses its backup mode; take it out of dbnames"
        ));
    }
    if now.forced_writes == 0 {
        cx.warn(format_args!(
            "forced writes are off in {database}: a crash of the machine can damage it. Its file is synced before the \
             snapshot, and holds all that was acknowledged; what was written later may be torn, so restore the file \
             without its .delta file"
        ));
    }
    if now.crypt_page > 0 {
        cx.note(format_args!("{database} is being encrypted or decrypted: that goes on in the .delta file"));
    }
    if now.behind > BEHIND {
        cx.note(format_args!(
            "a transaction in {database} is {} transactions old: what it wrote is not in the snapshot",
            now.behind
        ));
    }
    for t in sql::old_transactions(cx, database, LONG)? {
        cx.note(format_args!(
            "transaction {} in {database} began {} s ago: what it wrote is not in the snapshot before it is committed",
            t.id, t.seconds
        ));
    }
    for file in sql::more_files(cx, database)? {
        let path = file.path;
        match file.kind {
            1 => cx.warn(format_args!(
                "{database} writes into {path} during its backup mode, by that whole path: a copy that is opened on this \
                 machine before  nbackup -F  was run on it would write into the same file"
            )),
            2 => cx.warn(format_args!(
                "{database} has a shadow in {path}, by that whole path: a copy that is opened on this machine would write \
                 into it"
            )),
            _ => cx.problem(format_args!(
                "{database} goes on in {path}: databases of several files are not supported (nbackup does not know them \
                 either); restore it from gbak into one file"
            )),
        }
    }
    Ok(())
}

/// Asked once more just before: what somebody began since check is theirs.
fn begin(cx: &Freeze, database: &str) -> Result<()> {
    let marked = sql::marked(cx, database)?.one()?.marks > 0;
    match sql::backup_state(cx, database)?.one()?.state {
        0 if marked => Err(Error::new(format_args!("it {MARKED}"))),
        0 => sql::begin_backup(cx, database),
        1 => Err(Error::new("somebody else has begun its backup mode since check: it is left alone")),
        _ => Err(Error::new("it is still taking back what was written during the last backup mode")),
    }
}

stillpoint_sdk::export!(Firebird);

#[cfg(test)]
mod tests {
    use super::Firebird;
    use stillpoint_sdk::{Level, Snapshot, fake::FakeHost, row};

    fn server() -> FakeHost {
        let mut host = FakeHost::new();
        host.plan().databases = vec!["/srv/a.fdb".into(), "/srv/b.fdb".into()];
        host.answer("version", [row!["3.0.11"]])
            .answer("settings", [row![0, 1, 0, 0, 12, 0, 4]])
            .answer("marked", [row![0]])
            .answer("backup_state", [row![0]])
            .answer("position", [row![42, 40, "2026-11-24 17:31:11.0420"]]);
        host
    }

    #[test]
    fn every_database_is_put_into_its_backup_mode_and_left_to_the_host() {
        let host = server();
        host.prepare::<Firebird>().expect("prepare");
        let point = host.freeze::<Firebird>().expect("freeze");
        host.thaw::<Firebird>().expect("thaw");
        let sent = host.sent();
        let begun: Vec<_> = sent.iter().filter(|s| s.starts_with("begin_backup")).collect();
        assert_eq!(begun, ["begin_backup@/srv/a.fdb()", "begin_backup@/srv/b.fdb()"]);
        assert!(sent.last().is_some_and(|s| s.starts_with("position")), "{sent:?}");
        assert_eq!(point.coordinates().next(), Some(("/srv/a.fdb: next transaction", "42")));
        assert_eq!(point.coordinates().count(), 6);
    }

    #[test]
    fn a_mark_that_is_nobodys_is_taken_away() {
        for (state, marks, ended) in [(0, 1, true), (1, 1, false), (2, 1, false), (0, 0, false)] {
            let mut host = FakeHost::new();
            host.plan().databases = vec!["/srv/a.fdb".into()];
            host.answer("backup_state", [row![state]]).answer("marked", [row![marks]]);
            host.prepare::<Firebird>().expect("prepare");
            let sent = host.sent();
            assert_eq!(sent.iter().any(|s| s.starts_with("end_backup")), ended, "{state} {marks}: {sent:?}");
        }
    }

    #[test]
    fn what_somebody_else_began_is_not_begun_again() {
        for (state, marks, words) in [(1, 1, "somebody else"), (2, 1, "still taking back"), (0, 1, "was interrupted")] {
            let mut host = FakeHost::new();
            host.plan().databases = vec!["/srv/a.fdb".into()];
            host.answer("backup_state", [row![state]]).answer("marked", [row![marks]]);
            let said = host.freeze::<Firebird>().expect_err("refused").to_string();
            assert!(said.contains(words) && said.contains("/srv/a.fdb"), "{said}");
            assert!(!host.sent().iter().any(|s| s.starts_with("begin_backup")));
        }
    }

    #[test]
    fn check_names_what_would_go_wrong() {
        let mut host = FakeHost::new();
        host.plan().databases = vec!["/srv/a.fdb".into()];
        host.plan().snapshot = Snapshot::Files;
        host.answer("version", [row!["4.0.2"]])
            .answer("settings", [row![1, 0, 1, 7, 13, 0, 200_000]])
            .answer("marked", [row![1]])
            .answer("old_transactions", [row![7, 31]])
            .answer("more_files", [row!["/x", 1], row!["/y", 2], row!["/z", 3]]);
        let report = host.check::<Firebird>().expect("check");
        assert_eq!(report.version, "4.0.2, ODS 13.0");
        let count = |level| report.findings.iter().filter(|f| f.level == level).count();
        assert_eq!((count(Level::Problem), count(Level::Warning), count(Level::Note)), (3, 3, 4), "{report:?}");
    }

    #[test]
    fn older_servers_and_no_databases_are_refused_in_words() {
        let said = FakeHost::new().check::<Firebird>().expect_err("refused").to_string();
        assert!(said.contains("dbnames"), "{said}");
        let mut host = FakeHost::new();
        host.plan().databases = vec!["/srv/a.fdb".into()];
        host.answer("version", [row!["2.5.9"]]);
        let said = host.check::<Firebird>().expect_err("refused").to_string();
        assert!(said.contains("2.5.9"), "{said}");
    }
}
