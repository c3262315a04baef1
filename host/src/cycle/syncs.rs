//! Syncs that workloads share: what lies on one filesystem need not be written out once for each of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};

use crate::sys::disk::Filesystem;

type Sync = Shared<LocalBoxFuture<'static, Result<(), String>>>;

/// Of one filesystem: the sync that runs, and the one that begins after it, for all who come meanwhile.
#[derive(Default)]
struct Turns {
    running: Option<Sync>,
    next: Option<Sync>,
}

/// All filesystems, by their device.
#[derive(Clone, Default)]
pub struct Syncs(Rc<RefCell<BTreeMap<u64, Turns>>>);

impl Syncs {
    /// Syncs a filesystem, on a thread that may block: by a sync that begins after this was called. Those who come at once
    /// share it.
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
        let (before, all) = (turns.running.clone(), Rc::clone(&self.0));
        let after = async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            tokio::task::yield_now().await;
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

async fn sync(filesystem: Filesystem) -> Result<(), String> {
    let synced = tokio::task::spawn_blocking(move || {
        filesystem.sync().map_err(|e| format!("{}: {e}", filesystem.path.display()))
    });
    synced.await.unwrap_or_else(|e| Err(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two that come at once share one, two that come while it runs share the next; who comes after that has begun does not.
    #[tokio::test]
    async fn whoever_comes_before_it_begins_shares_it() {
        let folder = tempfile::tempdir().unwrap();
        let one = Filesystem::open(folder.path()).unwrap();
        let mut two = one.clone();
        two.device += 1;
        let (syncs, one) = (Syncs::default(), || one.clone());
        let (first, second, other) = (syncs.turn(one()), syncs.turn(one()), syncs.turn(two));
        assert!(first.ptr_eq(&second) && !first.ptr_eq(&other));
        while syncs.0.borrow()[&one().device].running.is_none() {
            assert_eq!(first.clone().now_or_never(), None);
        }
        let (third, fourth) = (syncs.turn(one()), syncs.turn(one()));
        assert!(!third.ptr_eq(&first) && third.ptr_eq(&fourth));
        assert_eq!((third.await, first.await, other.await), (Ok(()), Ok(()), Ok(())));
        let fifth = syncs.turn(one());
        assert!(!fifth.ptr_eq(&fourth));
        assert_eq!((fifth.await, fourth.await), (Ok(()), Ok(())));
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
