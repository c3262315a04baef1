//! Syncs that workloads share: what lies on one filesystem need not be written out once for each of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::ready;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, try_join_all};

use crate::sys::disk::Filesystem;

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
    pub async fn sync(&self, filesystem: Filesystem) -> Result<(), String> {
        let turn = self.turn(filesystem);
        turn.await
    }

    fn turn(&self, filesystem: Filesystem) -> Sync {
        let device = filesystem.device;
        let mut all = self.0.borrow_mut();
        let turns = all.entry(device).or_default();
        if let Some(next) = &turns.next {
            return next.clone();
        }
        match turns.running.as_ref().filter(|running| running.peek().is_none()).cloned() {
            None => {
                let sync = sync(filesystem).boxed_local().shared();
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
                    sync(filesystem).await
                };
                let next = after.boxed_local().shared();
                turns.next = Some(next.clone());
                next
            }
        }
    }
}

/// One sync of each filesystem, for all who ask for it: it begins with the first.
pub struct OneSync(BTreeMap<u64, Sync>);

impl OneSync {
    /// Of these filesystems. Nothing begins yet.
    pub fn of<'f>(filesystems: impl Iterator<Item = &'f Filesystem>) -> OneSync {
        OneSync(filesystems.map(|one| (one.device, sync(one.clone()).boxed_local().shared())).collect())
    }

    /// Waits until these are synced, or one of them could not be.
    ///
    /// # Errors
    /// In words.
    pub async fn all(&self, filesystems: &[Filesystem]) -> Result<(), String> {
        let one = |f: &Filesystem| match self.0.get(&f.device) {
            Some(sync) => sync.clone().left_future(),
            None => ready(Err(format!("{}: nobody does", f.path.display()))).right_future(),
        };
        try_join_all(filesystems.iter().map(one)).await.map(drop)
    }
}

/// Syncs a filesystem, on a thread that may block.
async fn sync(filesystem: Filesystem) -> Result<(), String> {
    let synced = tokio::task::spawn_blocking(move || {
        filesystem.sync().map_err(|e| format!("{}: {e}", filesystem.path.display()))
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
        let one = Filesystem::open(folder.path()).unwrap();
        let mut two = one.clone();
        two.device += 1;
        let (syncs, one) = (Syncs::default(), || one.clone());
        let first = syncs.turn(one());
        let (second, third, other) = (syncs.turn(one()), syncs.turn(one()), syncs.turn(two));
        assert!(!first.ptr_eq(&second) && second.ptr_eq(&third) && !first.ptr_eq(&other));
        assert_eq!((first.await, second.await, other.await), (Ok(()), Ok(()), Ok(())));
        let fourth = syncs.turn(one());
        assert!(!fourth.ptr_eq(&third));
        assert_eq!((fourth.await, third.await), (Ok(()), Ok(())));
    }

    /// One that fails is told at once, and one that nobody asks for is never begun.
    #[tokio::test]
    async fn one_sync_is_for_all_who_ask() {
        let folder = tempfile::tempdir().unwrap();
        let one = Filesystem::open(folder.path()).unwrap();
        let mut three = [one.clone(), one.clone(), one.clone()];
        (three[1].device, three[2].device) = (one.device + 1, one.device + 2);
        let syncs = OneSync::of(three[..2].iter());
        assert_eq!((syncs.all(&three[..1]).await, syncs.all(&three[..1]).await), (Ok(()), Ok(())));
        assert!(syncs.0[&one.device].peek().is_some() && syncs.0[&three[1].device].peek().is_none());
        assert!(syncs.all(&three[1..]).await.is_err_and(|why| why.ends_with("nobody does")));
        assert_eq!(syncs.all(&three[..2]).await, Ok(()));
    }

    /// Nobody is left who would go on with it.
    #[tokio::test]
    async fn one_that_is_given_up_does_not_keep_the_others_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (syncs, one) = (Syncs::default(), Filesystem::open(folder.path()).unwrap());
        drop((syncs.turn(one.clone()), syncs.turn(one.clone())));
        assert_eq!(syncs.sync(one.clone()).await, Ok(()));
        assert_eq!(syncs.sync(one).await, Ok(()));
    }
}
