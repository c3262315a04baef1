//! Syncs that workloads share: what lies on one filesystem need not be written out once for each of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};

use crate::sys::disk;

type Sync = Shared<LocalBoxFuture<'static, Result<(), String>>>;

/// Of one filesystem: the sync that runs, and the one that begins when it ends, for all who come meanwhile.
#[derive(Default)]
struct Turns {
    running: Option<Sync>,
    next: Option<Sync>,
}

/// All filesystems, by their device.
#[derive(Clone, Default)]
pub struct Syncs(Rc<RefCell<BTreeMap<u64, Turns>>>);

impl Syncs {
    /// Syncs a filesystem, on a thread that may block: by a sync that begins after this was called.
    ///
    /// # Errors
    /// In words.
    pub async fn sync(&self, device: u64, path: PathBuf) -> Result<(), String> {
        let turn = self.turn(device, path);
        turn.await
    }

    fn turn(&self, device: u64, path: PathBuf) -> Sync {
        let mut all = self.0.borrow_mut();
        let turns = all.entry(device).or_default();
        if let Some(next) = &turns.next {
            return next.clone();
        }
        match turns.running.as_ref().filter(|running| running.peek().is_none()).cloned() {
            None => {
                let sync = sync(path).boxed_local().shared();
                turns.running = Some(sync.clone());
                sync
            }
            Some(running) => {
                let all = Rc::clone(&self.0);
                let after = async move {
                    let _ = running.await;
                    // From here on it is too late to share it.
                    if let Some(turns) = all.borrow_mut().get_mut(&device) {
                        turns.running = turns.next.take();
                    }
                    sync(path).await
                };
                let next = after.boxed_local().shared();
                turns.next = Some(next.clone());
                next
            }
        }
    }
}

async fn sync(path: PathBuf) -> Result<(), String> {
    let synced = tokio::task::spawn_blocking(move || {
        disk::sync_filesystem(&path).map_err(|e| format!("{}: {e}", path.display()))
    });
    synced.await.unwrap_or_else(|e| Err(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two that come while one runs share the next; who comes after that has begun does not.
    #[tokio::test]
    async fn whoever_comes_while_one_runs_shares_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (syncs, path) = (Syncs::default(), || folder.path().to_owned());
        let first = syncs.turn(1, path());
        let (second, third, other) = (syncs.turn(1, path()), syncs.turn(1, path()), syncs.turn(2, path()));
        assert!(!first.ptr_eq(&second) && second.ptr_eq(&third) && !first.ptr_eq(&other));
        assert_eq!((first.await, second.await, other.await), (Ok(()), Ok(()), Ok(())));
        let fourth = syncs.turn(1, path());
        assert!(!fourth.ptr_eq(&third));
        assert_eq!((fourth.await, third.await), (Ok(()), Ok(())));
        let gone = syncs.sync(3, path().join("nothing")).await;
        assert!(gone.unwrap_err().contains("nothing"));
    }

    /// Nobody is left who would go on with it.
    #[tokio::test]
    async fn one_that_is_given_up_does_not_keep_the_others_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (syncs, path) = (Syncs::default(), || folder.path().to_owned());
        drop((syncs.turn(1, path()), syncs.turn(1, path())));
        assert_eq!(syncs.sync(1, path()).await, Ok(()));
        assert_eq!(syncs.sync(1, path()).await, Ok(()));
    }
}
