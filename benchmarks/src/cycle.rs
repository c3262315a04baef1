//! One cycle, by Stillpoint or by the minimal program, on the same server and from the same place.
//!
//! A snapshot of zero length is a command that does nothing: `run -- true`. The agent learns that everything stands
//! still, starts the command, sees its end and asks for the thaw; so the word from the keeper to the agent and back is
//! in the figure, as it is in every backup. The minimal program starts the same command and waits for it. `freeze` and
//! `thaw` would add the start of a second process of ours, which is the agent's way to call and not the freeze; a keeper
//! that thaws by itself would leave out what every real cycle has.
//!
//! The time is the keeper's own: only there it is known when the first freezing statement was sent and when its undo was
//! acknowledged. What the writers saw is measured here, and would show if that were not so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stillpoint_contract::Manifest;
use stillpoint_tests::mariadb::MariaDb;
use stillpoint_tests::program::run;
use stillpoint_tests::site::Site;

use crate::minimal::{Plan, Statement, TAG};

/// The snapshot of zero length. Both start it, wait for it, and are measured with it.
const SNAPSHOT: &str = "true";

/// Where the time of one cycle went.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Times {
    /// From `BACKUP STAGE BLOCK_COMMIT` sent to `BACKUP STAGE END` acknowledged.
    pub standstill_us: u64,
    /// From `BACKUP STAGE START` sent to `BACKUP STAGE END` acknowledged.
    pub frozen_us: u64,
    /// Until everything stood still, the recovery point on disk.
    pub freeze_us: u64,
    /// Until the snapshot was cut.
    pub hold_us: u64,
    /// Until the undo was acknowledged.
    pub thaw_us: u64,
    /// When everything stood still, in microseconds since 1970.
    pub frozen_at_us: i64,
}

/// Whole microseconds.
pub fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What is measured: a server, and both ways to freeze it.
pub struct Bench<'a> {
    /// The server.
    pub server: &'a MariaDb,
    site: Site,
    stillpoint: PathBuf,
    plan: Option<Plan>,
    /// How many statements a cycle sends, the tags not counted.
    pub statements: usize,
    durable: bool,
}

impl<'a> Bench<'a> {
    /// Puts both together. `durable`: the server itself makes each acknowledged commit durable. What the minimal program
    /// sends is what the server was sent by Stillpoint, read from the server's own log, and asked of that log again.
    pub fn new(server: &'a MariaDb, programs: &Path, durable: bool) -> Result<Bench<'a>> {
        let site = Site::new();
        let ipc = site.path("ipc");
        std::fs::create_dir(&ipc)?;
        site.configure(&format!(
            "[workload]\nworkload_name = mariadb\ncredString = -u root --socket={}\nipc_folder = {}\ntimeout = 60\n",
            server.socket().display(),
            ipc.display(),
        ));
        let mut bench =
            Bench { server, site, stillpoint: programs.join("stillpoint"), plan: None, statements: 0, durable };
        let sent = bench.sent(|| bench.stillpoint().map(drop))?;
        bench.statements = sent.len();
        bench.plan = Some(plan(&bench, &sent)?);
        let again = bench.sent(|| bench.minimal().map(drop))?;
        let texts = |all: &[Statement]| all.iter().map(|s| s.text.clone()).collect::<Vec<_>>();
        ensure!(texts(&sent) == texts(&again), "the minimal program did not send the same:\n{sent:?}\n{again:?}");
        Ok(bench)
    }

    /// One cycle by Stillpoint, as an agent calls it. What it says of itself is measured inside the keeper.
    pub fn stillpoint(&self) -> Result<(Times, Value)> {
        let call = self.site.command(&["--output", "json", "run", "--", SNAPSHOT]);
        let ended = run(apart(&self.stillpoint).args(call.get_args()), "");
        let record: Value = serde_json::from_str(&ended.stdout).with_context(|| ended.stderr.clone())?;
        ensure!(ended.code == Some(0), "stillpoint ended with {:?}: {}{}", ended.code, ended.stdout, ended.stderr);
        ensure!(record["verdict"] == "application-consistent" && record["kind"] == "still", "{record}");
        let workload = &record["workloads"][0];
        ensure!(workload["durable"] == self.durable, "durable is {}: another way was measured", workload["durable"]);
        let read = |at: &Value| at.as_u64().context("the record lacks a time");
        let times = Times {
            standstill_us: read(&record["standstill_us"])?,
            frozen_us: read(&record["frozen_us"])?,
            freeze_us: read(&workload["phases"]["freeze_us"])?,
            hold_us: read(&workload["phases"]["held_us"])?,
            thaw_us: read(&workload["phases"]["thaw_us"])?,
            frozen_at_us: record["frozen_at"].as_str().unwrap_or_default().parse::<Timestamp>()?.as_microsecond(),
        };
        Ok((times, record))
    }

    /// One cycle by the minimal program.
    pub fn minimal(&self) -> Result<Times> {
        let plan = serde_json::to_string(self.plan.as_ref().context("there is no plan yet")?)?;
        let ended = run(apart(&std::env::current_exe()?).arg("minimal").arg(plan), "");
        ensure!(ended.code == Some(0), "the minimal program failed: {}", ended.stderr);
        Ok(serde_json::from_str(&ended.stdout)?)
    }

    /// All statements that reach the server meanwhile, but for the tags.
    fn sent(&self, cycle: impl FnOnce() -> Result<()>) -> Result<Vec<Statement>> {
        // The server creates it.
        let log = self.server.socket().with_file_name("statements");
        let _ = std::fs::remove_file(&log);
        self.server.sql(&format!("SET GLOBAL general_log_file = '{}', GLOBAL general_log = ON;", log.display()));
        let done = cycle();
        self.server.sql("SET GLOBAL general_log = OFF;");
        done?;
        let text = std::fs::read_to_string(&log)?;
        let statement = |line: &str| {
            let (head, text) = line.split_once(" Query\t")?;
            let ours = !text.starts_with("SET GLOBAL general_log") && !text.starts_with(TAG);
            let connection = head.split_whitespace().last()?.parse().ok()?;
            ours.then(|| Statement { connection, text: text.to_owned() })
        };
        Ok(text.lines().filter_map(statement).collect())
    }
}

/// In a process session of its own: the agent is no part of the application, and the kernel shares out its time by
/// these.
fn apart(program: &Path) -> Command {
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(program);
    command
}

/// The cycle as the server saw it, and the client as the module's manifest has it.
fn plan(bench: &Bench<'_>, sent: &[Statement]) -> Result<Plan> {
    let (server, site) = (bench.server, &bench.site);
    let manifest = std::fs::read_to_string(site.module("mariadb").join("module.toml"))?;
    let manifest = Manifest::parse(&manifest).map_err(anyhow::Error::msg)?;
    ensure!(manifest.client.tag == "SELECT '{tag}'", "the tag is another now: {}", manifest.client.tag);
    let login = site.path("login");
    std::fs::write(&login, format!("[client]\nuser=\"root\"\nsocket=\"{}\"\n", server.socket().display()))?;
    let way = manifest.client.login.as_ref().context("the client has no login")?;
    let program = stillpoint_tests::missing::find(&["mariadb"]).context("there is no mariadb")?;
    let mut client = vec![program.display().to_string(), way.argument.replace("{login}", &login.display().to_string())];
    client.extend(manifest.client.arguments.iter().cloned());
    let at = |text: &str| sent.iter().position(|s| s.text == text).with_context(|| format!("nobody sent {text}"));
    let (start, stop, end) = (at("BACKUP STAGE START")?, at("BACKUP STAGE BLOCK_COMMIT")?, at("BACKUP STAGE END")?);
    ensure!(start < stop && stop + 1 < end && end + 1 == sent.len(), "this is no cycle that can be repeated: {sent:?}");
    Ok(Plan {
        client,
        before: sent[..start].to_vec(),
        start: sent[start..stop].to_vec(),
        // The last one before the end is the proof.
        freeze: sent[stop..end - 1].to_vec(),
        thaw: sent[end - 1..].to_vec(),
        file: site.path("ipc").join("minimal"),
        data: server.sql("SELECT @@datadir;").trim().into(),
        sync: !bench.durable,
        snapshot: SNAPSHOT.into(),
    })
}
