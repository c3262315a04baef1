//! Oracle Database, in its online backup mode (`ALTER DATABASE BEGIN BACKUP`), which stops nothing and lasts on disk.
//!
//! No real Oracle has been at hand: everything here was tried against a simulator of `sqlplus` alone.

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// The state in which the database can be held; the manifest says what follows from every other.
const HELD: &str = "HELD";

/// The copy of the control file, in `ipc_folder`.
const CONTROL_FILE: &str = "control-file.bkp";

/// From here on a recovery area is worth a warning, in percent.
const FULL: i64 = 90;

/// How many files are named one by one.
const NAMED: usize = 5;

/// The module.
pub struct Oracle;

impl Workload for Oracle {
    fn check(cx: &Check) -> Result<()> {
        let instance = sql::instance(cx)?.one()?;
        cx.version(format!("Oracle {}, instance {}", instance.version, instance.name));
        cx.require(
            number(&instance.version) >= (12, 2),
            format_args!("SYSBACKUP and CSV rows need Oracle 12.2 or later; this is {}", instance.version),
        )?;
        cx.require(
            instance.status != "STARTED",
            "the instance is started and its database is not mounted: nobody can say where its files are. Mount or open \
             it (ALTER DATABASE MOUNT; ALTER DATABASE OPEN), or take its line out of the list of instances",
        )?;
        let database = sql::database(cx)?.one()?;
        let state = sql::standing(cx)?.one()?.state;
        cx.note(format_args!(
            "{}: {}, {}, {}{}",
            database.name,
            database.role,
            database.open_mode,
            database.log_mode,
            if database.cdb == "YES" {
                ", a container database: all its pluggable databases are frozen with it"
            } else {
                ""
            }
        ));
        if state == "MOUNTED" {
            match sql::fuzzy(cx)?.one()?.files {
                0 => cx.note("it was closed cleanly: while it stays so, a snapshot needs no recovery"),
                files => cx.warn(format_args!(
                    "it was not closed cleanly: {files} data files need recovery when it is opened"
                )),
            }
        }
        in_backup_by_others(cx)?;
        if state == HELD {
            archiving(cx, &instance.archiver)?;
        }
        if sql::cluster(cx)?.one()?.cluster > 0 {
            cx.warn(
                "this is one instance of a cluster (RAC): the backup mode is the whole database's, and only a snapshot of \
                 all its shared disks at one instant is consistent. Name it in one machine's configuration alone",
            );
        }
        match sql::elsewhere(cx)?.one()?.files {
            0 => {}
            files => cx.warn(format_args!(
                "{files} data files lie in no filesystem of this machine (ASM): all its disk groups must be in the same \
                 snapshot, which cannot be seen from here"
            )),
        }
        Ok(())
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        if sql::standing(cx)?.one()?.state != HELD {
            return Ok(());
        }
        sql::archive_log(cx)?;
        sql::begin_backup(cx).map_err(explained)
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        let held = sql::standing(cx)?.one()?.state == HELD;
        // Read-only and offline files stay out of backup mode, so the count is not that of all files; but never none.
        if held && sql::in_backup(cx)?.one()?.files.starts_with("0 ") {
            return Err(Error::new("no data file is in backup mode any more: somebody has ended it"));
        }
        let position = sql::position(cx)?.one()?;
        let mut point = RecoveryPoint::new()
            .and("dbid", &position.dbid)
            .and("scn", &position.scn)
            .and("checkpoint scn", &position.checkpoint)
            .and("resetlogs scn", &position.resetlogs);
        for log in sql::current_log(cx)? {
            point = point.and(format!("sequence of thread {}", log.thread), &log.sequence);
        }
        Ok(point)
    }

    fn thaw(cx: &Thaw) -> Result<()> {
        sql::end_backup(cx)?;
        // Nothing is held from here on: what fails below is said, and takes nothing from the snapshot.
        if let Err(e) = sql::archive_log(cx) {
            log::warn(format_args!(
                "the log that holds the end of the backup was not archived: {e}. Archive it before the snapshot is rolled \
                 forward by archived logs alone"
            ));
            return Ok(());
        }
        match sql::archived(cx) {
            Ok(all) => all.into_iter().for_each(|log| {
                log::info(format_args!(
                    "archived: thread {} to sequence {}, scn {}",
                    log.thread, log.sequence, log.scn
                ));
            }),
            Err(e) => log::warn(format_args!("which logs are archived was not answered: {e}")),
        }
        match sql::control_file(cx, CONTROL_FILE) {
            Ok(()) => {
                log::info(format_args!("control file: copied as {CONTROL_FILE} of this workload into ipc_folder"))
            }
            Err(e) => log::warn(format_args!(
                "the control file was not copied: {e}. It needs an ipc_folder into which the server's own user may write"
            )),
        }
        Ok(())
    }
}

/// A second backup mode cannot begin, and the first is nobody's to end but its owner's.
fn in_backup_by_others(cx: &Check) -> Result<()> {
    let files = sql::in_backup_by_others(cx)?.all();
    if files.is_empty() {
        return Ok(());
    }
    let more = match files.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named: Vec<String> =
        files.iter().take(NAMED).map(|f| format!("file {} {} since {}", f.number, f.file, f.since)).collect();
    cx.problem(format_args!(
        "somebody else has it in backup mode: {}{more}. It is left alone. When no other backup runs, end it with  ALTER \
         DATABASE END BACKUP",
        named.join(", ")
    ));
    Ok(())
}

/// What would make `ARCHIVE LOG CURRENT` wait or fail.
fn archiving(cx: &Check, archiver: &str) -> Result<()> {
    if archiver == "FAILED" {
        cx.problem("the archiver has failed: ARCHIVE LOG CURRENT would wait for it without an end. Make room, or mend its destination");
    }
    for destination in sql::archive_errors(cx)? {
        cx.warn(format_args!("the archive destination {} fails: {}", destination.destination, destination.error));
    }
    for area in sql::recovery_area(cx)? {
        if area.percent >= FULL {
            cx.warn(format_args!(
                "the recovery area {} is {} % full: without room no log is archived, and then nobody writes any more",
                area.path, area.percent
            ));
        }
    }
    Ok(())
}

/// The first two numbers of a version.
fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|n| n.parse().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// What the database's own words mean here.
fn explained(error: Error) -> Error {
    let words = match error.code() {
        Some("ORA-01123") => "the database is in NOARCHIVELOG mode, in which there is no backup mode",
        Some("ORA-01146") => "somebody else has put a data file into backup mode, and it is left alone",
        Some("ORA-01109" | "ORA-01507") => "the database was closed meanwhile",
        Some("ORA-01031") => "the login may not begin a backup: it must connect as SYSBACKUP",
        _ => return error,
    };
    error.context(words)
}

stillpoint_sdk::export!(Oracle);

#[cfg(test)]
mod tests {
    use super::Oracle;
    use stillpoint_sdk::{fake::FakeHost, row};

    fn server(state: &str, status: &str, archiver: &str) -> FakeHost {
        let host = FakeHost::new();
        host.answer("instance", [row!["orcl", "19.0.0.0.0", status, archiver]])
            .answer("database", [row!["ORCL", "ARCHIVELOG", "PRIMARY", "READ WRITE", "YES"]])
            .answer("cluster", [row![0]])
            .answer("elsewhere", [row![0]])
            .answer("fuzzy", [row![0]])
            .answer("position", [row!["1", "2000", "1990", "1"]])
            .answer("current_log", [row!["1", "42"]])
            .answer("archived", [row!["1", "42", "2010"]])
            .answer("in_backup", [row!["4 8000"]])
            .answer("standing", [row![state]]);
        host
    }

    #[test]
    fn a_cycle_begins_and_ends_the_backup_mode_between_two_logs() {
        let host = server("HELD", "OPEN", "STARTED");
        host.answer("standing", [row!["HELD"]]);
        host.prepare::<Oracle>().expect("prepare");
        let point = host.freeze::<Oracle>().expect("freeze");
        host.thaw::<Oracle>().expect("thaw");
        let sent = host.sent();
        let names: Vec<&str> = sent.iter().filter_map(|s| s.split('(').next()).collect();
        assert_eq!(
            names,
            [
                "standing",
                "archive_log",
                "begin_backup",
                "standing",
                "in_backup",
                "position",
                "current_log",
                "end_backup",
                "archive_log",
                "archived",
                "control_file",
            ]
        );
        let point: Vec<_> = point.coordinates().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(point, ["dbid 1", "scn 2000", "checkpoint scn 1990", "resetlogs scn 1", "sequence of thread 1 42"]);
    }

    #[test]
    fn what_cannot_be_held_is_not_touched() {
        for state in ["NOARCHIVELOG", "MOUNTED", "READ ONLY", "STANDBY"] {
            let host = server(state, "OPEN", "STOPPED");
            host.prepare::<Oracle>().expect("prepare");
            assert_eq!(host.sent(), ["standing()"], "{state}");
        }
    }

    #[test]
    fn the_backup_of_somebody_else_is_named() {
        let host = server("HELD", "OPEN", "STARTED");
        host.answer("in_backup_by_others", [row![4, "/u02/users01.dbf", "2026-01-02 03-04-05"]]);
        let report = host.check::<Oracle>().expect("check");
        assert!(
            report.findings.iter().any(|f| f.text.contains("somebody else") && f.text.contains("/u02/users01.dbf")),
            "{:?}",
            report.findings
        );
    }

    #[test]
    fn what_is_not_mounted_or_too_old_is_refused_in_words() {
        let said = server("HELD", "STARTED", "STOPPED").check::<Oracle>().expect_err("not mounted").to_string();
        assert!(said.contains("not mounted"), "{said}");
        for old in ["11.2.0.4.0", "12.1.0.2.0"] {
            let host = FakeHost::new();
            host.answer("instance", [row!["orcl", old, "OPEN", "STARTED"]]);
            assert!(host.check::<Oracle>().expect_err("old").to_string().contains("12.2"), "{old}");
        }
    }

    #[test]
    fn a_failed_archiver_is_a_problem() {
        let report = server("HELD", "OPEN", "FAILED").check::<Oracle>().expect("check");
        assert!(report.findings.iter().any(|f| f.text.contains("archiver has failed")), "{:?}", report.findings);
    }

    /// After the end of the backup nothing is held, and the snapshot is what it is.
    #[test]
    fn a_log_that_is_not_archived_after_the_end_is_said() {
        let host = FakeHost::new();
        host.fail("archive_log", "ORA-00257", "Archiver error");
        host.thaw::<Oracle>().expect("thaw");
        assert!(host.log().iter().any(|l| l.contains("ORA-00257")), "{:?}", host.log());
    }

    #[test]
    fn errors_are_explained() {
        let host = server("HELD", "OPEN", "STARTED");
        host.fail("begin_backup", "ORA-01146", "cannot start online backup - file 1 is already in backup");
        let said = host.prepare::<Oracle>().expect_err("in backup").to_string();
        assert!(said.contains("somebody else"), "{said}");
    }
}
