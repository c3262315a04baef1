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
                 opens the database, and run  nbackup -F  on it (README.md, \"How to restore\")",
            );
        }
        Ok(())
    }

    fn prepare(_: &Prepare) -> Result<()> {
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
    match now.state {
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
    match sql::backup_state(cx, database)?.one()?.state {
        0 => sql::begin_backup(cx, database),
        1 => Err(Error::new("somebody else has begun its backup mode since check: it is left alone")),
        _ => Err(Error::new("it is still taking back what was written during the last backup mode")),
    }
}

stillpoint_sdk::export!(Firebird);
