//! The filesystems of the configuration: frozen once the databases stand still, thawed before those go on.
//!
//! | id | what |
//! |---|---|
//! | `SP-FS-001` | it cannot be frozen at all |
//! | `SP-FS-002` | it holds what is ours: state, sockets or program |
//! | `SP-FS-003` | somebody else has frozen it |
//! | `SP-FS-004` | freezing it failed |

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stillpoint_contract::manifest::Lasts;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::book::Book;
use crate::audit::{self, Act, What};
use crate::crash::{self, Step};
use crate::fault::{Exit, Fault};
use crate::guard::packet::Packet;
use crate::ledger::{Entry, Filesystem, Undo};
use crate::sys::freeze::{self, Done};

/// How long thawing one may take before it counts as failed.
const THAW: Duration = Duration::from_secs(5);

/// As many as the guard can be told about.
const MOST: usize = 200;

/// Kinds that have nothing to freeze: the kernel refuses them, or another machine writes there.
const NEVER: [&str; 15] = [
    "tmpfs", "ramfs", "proc", "sysfs", "devtmpfs", "cgroup", "cgroup2", "overlay", "squashfs", "iso9660", "nfs",
    "nfs4", "cifs", "9p", "virtiofs",
];

/// All of one cycle.
#[derive(Default)]
pub(super) struct Filesystems(Vec<One>);

struct One {
    /// Its place in the guard's list.
    number: u8,
    filesystem: Filesystem,
    folder: Arc<File>,
    state: State,
}

enum State {
    Thawed,
    /// The kernel has not answered yet.
    Freezing(JoinHandle<io::Result<Done>>),
    Frozen,
}

impl Filesystems {
    /// Opens them, and refuses what must never be frozen. `ours` are the paths that we write to or run from.
    ///
    /// # Errors
    /// `SP-FS-001`, `SP-FS-002`.
    pub(super) fn open(paths: &[PathBuf], ours: &[PathBuf]) -> Result<Filesystems, Fault> {
        let mut out: Vec<One> = Vec::new();
        if paths.len() > MOST {
            return Err(refused(Path::new("filesystems"), &format!("more than {MOST} are listed")));
        }
        for path in paths {
            let folder = freeze::open(path).map_err(|e| {
                let link = path.is_symlink();
                refused(path, &if link { "it is a symbolic link".into() } else { e.to_string() })
            })?;
            let superblock = freeze::superblock(&folder).map_err(|e| refused(path, &e.to_string()))?;
            if NEVER.contains(&superblock.kind.as_str()) || superblock.kind.starts_with("fuse") {
                return Err(refused(path, &format!("it is of the kind {}", superblock.kind)));
            }
            if let Some(twin) = out.iter().find(|o| o.filesystem.superblock == superblock) {
                return Err(refused(path, &format!("it is the same as {}", twin.filesystem.path.display())));
            }
            for own in ours {
                let file = File::open(own).map_err(|e| refused(path, &format!("{}: {e}", own.display())))?;
                let on = freeze::superblock(&file).map_err(|e| refused(path, &format!("{}: {e}", own.display())))?;
                if on == superblock {
                    let what = format!(
                        "{} lies on a filesystem that also holds {}, which is ours.",
                        path.display(),
                        own.display()
                    );
                    return Err(Fault::new("SP-FS-002", Exit::Usage, what)
                        .done("Nothing was frozen.")
                        .next("name a mount point that holds only data, or keep Stillpoint's own files elsewhere"));
                }
            }
            let filesystem = Filesystem { path: path.clone(), superblock };
            let number = u8::try_from(out.len()).unwrap_or(u8::MAX);
            out.push(One { number, filesystem, folder: Arc::new(folder), state: State::Thawed });
        }
        Ok(Filesystems(out))
    }

    /// What the guard must have at hand.
    pub(super) fn all(&self) -> Vec<Filesystem> {
        self.0.iter().map(|o| o.filesystem.clone()).collect()
    }

    /// Arms and freezes them, one after the other: an undo must not be written to what is frozen already, and none is,
    /// because ours lie elsewhere.
    ///
    /// # Errors
    /// `SP-FS-003`, `SP-FS-004`.
    pub(super) async fn freeze(&mut self, book: &Book, deadline: Instant) -> Result<(), Fault> {
        for one in &mut self.0 {
            let shown = one.filesystem.path.display().to_string();
            let failed = |why: String| {
                Fault::new("SP-FS-004", Exit::NotFrozen, format!("{shown} could not be frozen: {why}."))
                    .done("It is thawed.")
            };
            let entry = Entry {
                number: 0,
                workload: shown.clone(),
                froze: "FIFREEZE".into(),
                lasts: Lasts::Server,
                undo: Undo::Filesystem(one.filesystem.clone()),
            };
            book.arm(entry).await.map_err(|e| failed(e.to_string()))?;
            let told = book.tell_filesystem(Packet::Freezing(one.number)).await;
            if let Err(e) = told.and_then(|()| crash::may_fail(Step::FilesystemArmed)) {
                // Nothing was frozen: nobody may thaw it on our word.
                one.forget(book, "never frozen").await;
                return Err(failed(e.to_string()));
            }
            let began = Instant::now();
            let done = one.ask_to_freeze(deadline).await;
            one.tell(book, Act::Freeze, began, done.as_ref());
            let done = match done {
                Some(done) => done,
                None => return Err(failed("it took longer than stall_budget".into())),
            };
            crash::step(Step::FilesystemFrozen);
            match done {
                Ok(Done::Changed) => one.state = State::Frozen,
                // Not ours: it is left alone.
                Ok(Done::Already) => {
                    one.forget(book, "frozen by somebody else").await;
                    let what = format!("somebody else has frozen {shown} already.");
                    return Err(Fault::new("SP-FS-003", Exit::NotFrozen, what).done("It was left alone.").next(
                        "where the backup agent freezes filesystems itself, remove  filesystems =  ; otherwise find who \
                         did, and  fsfreeze --unfreeze  it",
                    ));
                }
                Err(e) => {
                    one.forget(book, "not frozen").await;
                    return Err(failed(e.to_string()));
                }
            }
        }
        Ok(())
    }

    /// Thaws what is frozen, the last first. Gives why the snapshot cannot be believed, if it cannot, and what went wrong.
    pub(super) async fn thaw(&mut self, book: &Book) -> (Option<String>, Vec<Fault>) {
        let (mut reason, mut faults) = (None, Vec::new());
        for one in self.0.iter_mut().rev() {
            if !matches!(one.state, State::Frozen) {
                continue;
            }
            match one.ask_to_thaw(book).await {
                Ok(done) => {
                    crash::step(Step::FilesystemThawed);
                    one.state = State::Thawed;
                    one.forget(book, "by the host").await;
                    if done == Done::Already {
                        let shown = one.filesystem.path.display();
                        reason = Some(format!("somebody else thawed {shown} while it was held"));
                    }
                }
                Err(e) => faults.push(one.not_thawed(&e.to_string())),
            }
        }
        (reason, faults)
    }

    /// Waits for the kernel where it was still freezing, and thaws that, too. After the databases: they do not wait for it.
    /// How long it may take is the guard's affair.
    pub(super) async fn thaw_late(&mut self, book: &Book) -> Vec<Fault> {
        let mut faults = Vec::new();
        for one in self.0.iter_mut().rev() {
            let State::Freezing(freezing) = &mut one.state else { continue };
            let frozen = freezing.await;
            one.state = State::Thawed;
            match frozen {
                Ok(Ok(Done::Changed)) => match one.ask_to_thaw(book).await {
                    Ok(_) => one.forget(book, "by the host").await,
                    Err(e) => faults.push(one.not_thawed(&e.to_string())),
                },
                _ => one.forget(book, "not frozen").await,
            }
        }
        faults
    }
}

impl One {
    /// `None` when the kernel has not answered at the deadline. Until it has, the state says so: whoever stops waiting
    /// sooner, the filesystem may be frozen later.
    async fn ask_to_freeze(&mut self, deadline: Instant) -> Option<io::Result<Done>> {
        let folder = Arc::clone(&self.folder);
        let freezing = tokio::task::spawn_blocking(move || freeze::freeze(&folder));
        self.state = State::Freezing(freezing);
        let State::Freezing(freezing) = &mut self.state else { return None };
        let done = timeout_at(deadline, freezing).await.ok()?;
        self.state = State::Thawed;
        Some(done.unwrap_or_else(|e| Err(io::Error::other(e))))
    }

    async fn ask_to_thaw(&self, book: &Book) -> io::Result<Done> {
        let began = Instant::now();
        let folder = Arc::clone(&self.folder);
        let thawing = tokio::task::spawn_blocking(move || freeze::thaw(&folder));
        let done = match timeout(THAW, thawing).await {
            Ok(done) => Some(done.unwrap_or_else(|e| Err(io::Error::other(e)))),
            Err(_) => None,
        };
        self.tell(book, Act::Thaw, began, done.as_ref());
        done.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Has the audit record tell of it.
    fn tell(&self, book: &Book, act: Act, began: Instant, done: Option<&io::Result<Done>>) {
        let outcome = match done {
            Some(Ok(Done::Changed)) => "done",
            Some(Ok(Done::Already)) => "already so",
            Some(Err(_)) => "failed",
            None => "no answer in time",
        };
        let (path, took_us) = (self.filesystem.path.display().to_string(), audit::took(began));
        book.audit.push(What::Filesystem { path, act, outcome: outcome.into(), took_us });
    }

    async fn forget(&self, book: &Book, how: &str) {
        // A guard that does not hear it thaws what is thawed.
        let _ = book.tell_filesystem(Packet::Thawed(self.number)).await;
        book.taken_back(how, |e| e.undo == Undo::Filesystem(self.filesystem.clone()));
    }

    fn not_thawed(&self, why: &str) -> Fault {
        let shown = self.filesystem.path.display();
        Fault::new("SP-CYCLE-006", Exit::NotThawed, format!("{shown} could not be thawed: {why}."))
            .done("SOMETHING MAY STILL STAND STILL.")
            .next(format!("fsfreeze --unfreeze {shown}"))
    }
}

fn refused(path: &Path, why: &str) -> Fault {
    Fault::new("SP-FS-001", Exit::Usage, format!("{} cannot be frozen: {why}.", path.display()))
        .done("Nothing was frozen.")
        .next("correct  filesystems =  in the configuration")
}
