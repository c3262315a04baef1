//! Where a workload's data lies, whether its commits are on disk by themselves, and syncing it where they are not.

use std::collections::BTreeSet;
use std::path::PathBuf;

use futures_util::future::{TryFutureExt, try_join_all};
use stillpoint_contract::manifest::Process;
use stillpoint_contract::message::{Value, only};
use tokio::time::{Instant, timeout_at};

use super::run::Run;
use super::syncs::OneSync;
use crate::fault::{Exit, Fault};
use crate::sys::disk::{filesystems, is_plain};

impl Run {
    /// Asks where its data lies, and gives whether its commits are on disk by themselves.
    pub(super) async fn look_at_data(&mut self, deadline: Instant) -> Result<bool, Fault> {
        let durable = self.ask_durable(deadline).await?;
        let named = self.ask_paths(deadline).await?;
        // A filesystem may hang: the clock must not.
        let looked = tokio::task::spawn_blocking(move || {
            // Where it really lies: a link within a snapshot leads out of it, to the data of now.
            let real = |path: PathBuf| path.canonicalize().map_err(|why| (path, why));
            let mut paths: Vec<PathBuf> = named.into_iter().map(real).collect::<Result<_, _>>()?;
            let mut seen = BTreeSet::new();
            paths.retain(|path| seen.insert(path.clone()));
            Ok((filesystems(&paths)?, paths))
        });
        match timeout_at(deadline, looked).await {
            Ok(Ok(Ok((filesystems, paths)))) => {
                (self.filesystems, self.data) = (filesystems, paths);
                // It ends up in commands that root is told to run.
                match self.data.iter().find(|path| !is_plain(path)) {
                    Some(odd) => {
                        Err(self.unknown_data(&format!("it lies in a path that is not plain: {}", odd.display())))
                    }
                    None => Ok(durable),
                }
            }
            Ok(Ok(Err((path, why)))) => Err(self.unknown_data(&format!("{}: {why}", path.display()))),
            _ => Err(self.unknown_data("its filesystems could not be looked at")),
        }
    }

    async fn ask_durable(&mut self, deadline: Instant) -> Result<bool, Fault> {
        let Some(durable) = self.broker.manifest.data.durable.clone() else { return Ok(false) };
        let rows = self.broker.ask_each(&durable.statement, deadline).await;
        let rows = rows.map_err(|e| self.unknown_data(&e.to_string()))?;
        let wanted = durable.answer.value();
        Ok(wanted.is_some() && !rows.is_empty() && rows.iter().all(|rows| only(rows) == wanted))
    }

    async fn ask_paths(&mut self, deadline: Instant) -> Result<Vec<PathBuf>, Fault> {
        if let Some(process) = self.broker.manifest.data.process.clone() {
            return self.working_folder(&process, deadline).await.map(|folder| vec![folder]);
        }
        let Some(paths) = self.broker.manifest.data.paths.clone() else {
            return Ok(self.broker.workload.databases.iter().map(PathBuf::from).collect());
        };
        let rows = self.broker.ask_each(&paths, deadline).await.map_err(|e| self.unknown_data(&e.to_string()))?;
        let paths: Vec<PathBuf> =
            rows.iter().flatten().filter_map(|row| row.first()?.text().map(PathBuf::from)).collect();
        match paths.iter().find(|path| !is_plain(path)) {
            Some(odd) => Err(self.unknown_data(&format!("it names a path that leads elsewhere: {}", odd.display()))),
            None => Ok(paths),
        }
    }

    /// Where the server itself works: its process is looked up, and must have one of the names that the manifest gives.
    async fn working_folder(&mut self, process: &Process, deadline: Instant) -> Result<PathBuf, Fault> {
        let pid = match self.broker.ask_one(&process.statement, None, deadline).await {
            Ok(Value::Integer(pid)) => pid,
            Ok(_) => return Err(self.unknown_data("it named no process")),
            Err(e) => return Err(self.unknown_data(&e.to_string())),
        };
        let name = crate::sys::process::name(pid).unwrap_or_else(|_| "no process here".into());
        if !process.named.contains(&name) {
            let why = format!(
                "the server calls itself process {pid}, which is {name}: it runs on another machine, or in a container"
            );
            return Err(self.unknown_data(&why));
        }
        let folder = crate::sys::process::working_folder(pid);
        folder.map_err(|e| self.unknown_data(&format!("the folder of process {pid} ({name}) cannot be read: {e}")))
    }

    fn unknown_data(&self, why: &str) -> Fault {
        Fault::new("SP-DB-016", Exit::NotFrozen, format!("where its data lies could not be learned: {why}."))
            .of(self.name())
            .done("What it held is taken back.")
            .next("see whether the server still answers, and what  stillpoint check  says of the login")
    }

    /// Syncs the filesystems that hold the data.
    pub(super) async fn sync(&self, deadline: Instant) -> Result<(), Fault> {
        let all = self.filesystems.iter().map(|one| self.syncs.sync(one.clone()));
        self.written(try_join_all(all).map_ok(drop), deadline).await
    }

    /// Has them synced together with all others who need it, once all of these hold.
    pub(super) async fn sync_together(&self, syncs: &OneSync, deadline: Instant) -> Result<(), Fault> {
        self.written(syncs.all(&self.filesystems), deadline).await
    }

    async fn written(&self, sync: impl Future<Output = Result<(), String>>, deadline: Instant) -> Result<(), Fault> {
        let synced = timeout_at(deadline, sync).await.unwrap_or_else(|_| Err("it took too long".into()));
        synced.map_err(|why| self.not_synced(&why))
    }

    fn not_synced(&self, why: &str) -> Fault {
        Fault::new("SP-DB-017", Exit::NotFrozen, format!("the filesystem of its data could not be synced: {why}."))
            .of(self.name())
            .done("What it held is taken back.")
            .next("see whether that filesystem is full, read-only or hangs")
    }
}
