//! The fake database server, frozen with what the workload's name says: `fake-session`, `fake-server-disk`, `fake-all`.
//! `fake-server-trap` traps when everything is frozen, `SELECT ROWS` being the last that it asks.

#![allow(clippy::panic)]

use stillpoint_sdk::prelude::*;

stillpoint_sdk::module!("module.toml");

/// How long a brief pause lasts: less than any hold that a test looks at.
const BRIEF_MS: i64 = 300;

/// What to freeze with: the words of the workload's name. Other words are free, so that several workloads can freeze
/// with the same.
struct Chosen {
    session: bool,
    expires: bool,
    brief: bool,
    server: bool,
    disk: bool,
    suspend: bool,
    forget: bool,
    trap: bool,
}

fn chosen(workload: &str) -> Chosen {
    let is = |word: &str| workload.split('-').any(|w| w == word || w == "all");
    let says = |word: &str| workload.split('-').any(|w| w == word);
    Chosen {
        session: is("session"),
        expires: is("expires"),
        brief: says("brief"),
        server: is("server"),
        disk: is("disk"),
        suspend: is("suspend"),
        forget: says("forget"),
        trap: says("trap"),
    }
}

/// The module.
pub struct Fake;

impl Workload for Fake {
    fn check(cx: &Check) -> Result<()> {
        cx.version(sql::version(cx)?.one()?.version);
        let what = chosen(cx.workload());
        cx.require(
            what.session || what.expires || what.server || what.disk || what.suspend,
            "the workload's name says nothing to freeze with: session, expires, server, disk, suspend or all",
        )?;
        // What others began is not ours to end.
        if what.disk && sql::backup(cx)?.one()?.backup == 1 {
            cx.problem("somebody has begun a backup already");
        }
        if what.suspend && sql::suspended(cx)?.one()?.suspended == 1 {
            cx.problem("somebody has suspended the disk already");
        }
        Ok(())
    }

    fn prepare(cx: &Prepare) -> Result<()> {
        sql::lock_wait(cx, milliseconds(cx.stall_budget()))?;
        // It stops nothing, so it has its place here.
        if chosen(cx.workload()).disk { sql::begin_backup(cx) } else { Ok(()) }
    }

    fn freeze(cx: &Freeze) -> Result<RecoveryPoint> {
        let what = chosen(cx.workload());
        if what.session {
            sql::lock(cx)?;
        }
        if what.expires {
            sql::pause(cx, if what.brief { BRIEF_MS } else { milliseconds(cx.timeout()) })?;
        }
        if what.server {
            sql::set_readonly(cx)?;
        }
        if what.suspend {
            sql::suspend_disk(cx)?;
        }
        let rows = sql::rows(cx)?.one()?.rows;
        if what.trap {
            panic!("the workload's name wants this");
        }
        Ok(RecoveryPoint::new().and("rows", rows))
    }

    /// What was set in the server's memory is left to the host, which knows the value that was there.
    fn thaw(cx: &Thaw) -> Result<()> {
        let what = chosen(cx.workload());
        if what.forget {
            return Ok(());
        }
        if what.suspend {
            sql::resume_disk(cx)?;
        }
        if what.expires {
            sql::resume(cx)?;
        }
        if what.session {
            sql::unlock(cx)?;
        }
        if what.disk { sql::end_backup(cx) } else { Ok(()) }
    }
}

fn milliseconds(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).clamp(1, 600_000)
}

stillpoint_sdk::export!(Fake);

#[cfg(test)]
mod tests {
    use super::*;
    use stillpoint_sdk::fake::FakeHost;
    use stillpoint_sdk::row;

    #[test]
    fn the_name_says_what_is_frozen() {
        for (name, prepared, frozen) in [
            ("fake-session", "", "lock()"),
            ("fake-server-disk-2", "begin_backup()", "set_readonly()"),
            ("fake-all", "begin_backup()", "lock() pause(90000) set_readonly() suspend_disk()"),
            ("fake-expires-brief", "", "pause(300)"),
        ] {
            let mut host = FakeHost::new();
            host.plan().workload = name.into();
            host.answer("rows", [row![3]]);
            host.prepare::<Fake>().expect("prepare");
            assert_eq!(host.sent()[1..].join(" "), prepared, "{name}");
            let before = host.sent().len();
            host.freeze::<Fake>().expect("freeze");
            let sent = host.sent();
            assert_eq!(sent[before..sent.len() - 1].join(" "), frozen, "{name}");
        }
    }

    #[test]
    fn a_name_that_says_nothing_is_refused() {
        let mut host = FakeHost::new();
        host.plan().workload = "fake".into();
        host.answer("version", [row!["1.0-fake"]]);
        assert!(host.check::<Fake>().is_err());
    }
}
