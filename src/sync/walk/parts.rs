//! The parts of a page that is longer than most: each is stored as it comes, and only the last one moves the cursor.
//!
//! A walk that ends between them goes on with the same page: what is stored by then comes again and is unchanged.

use std::{collections::VecDeque, pin::Pin};

use tokio::sync::{Mutex, MutexGuard};
use tributary_connectors::{Context, Next, RawPage, kit::Decoded};

use super::{Ready, Walk};
use crate::store::{self, Pass, StoredPage};

type Commit = Pin<Box<dyn Future<Output = store::Result<StoredPage>> + Send>>;

/// Takes the parts of a walk's pages.
pub(super) struct Parts<'a> {
    walk: &'a Walk,
    cx: &'a Context,
    pass: &'a Pass,
    taken: Mutex<Taken>,
}

/// What came of the page that is being read.
#[derive(Default)]
pub(super) struct Taken {
    /// The page's number in the pass.
    number: i64,
    /// How many parts came.
    pub(super) parts: usize,
    /// What each item of them is known by.
    pub(super) keys: Vec<i64>,
    /// What storing them did, so far.
    pub(super) stored: Vec<StoredPage>,
    /// Why one could not be stored: no further one is.
    pub(super) error: Option<store::Error>,
    /// Parts that are being stored.
    queued: VecDeque<Commit>,
}

impl Taken {
    /// Waits until no more than so many parts are being stored.
    async fn wait_for_all_but(&mut self, few: usize) {
        while self.queued.len() > few
            && let Some(first) = self.queued.front_mut()
        {
            let stored = first.await;
            self.queued.pop_front();
            match stored {
                Ok(stored) => self.stored.push(stored),
                Err(error) => self.error = Some(error),
            }
        }
    }
}

impl<'a> Parts<'a> {
    pub(super) fn new(walk: &'a Walk, cx: &'a Context, pass: &'a Pass) -> Self {
        Parts { walk, cx, pass, taken: Mutex::default() }
    }

    /// The next page is read: this is its number.
    pub(super) async fn begin(&self, number: i64) {
        *self.taken.lock().await = Taken { number, ..Taken::default() };
    }

    /// What came of the page, once all of it is stored.
    pub(super) async fn end(&self) -> Taken {
        let mut taken = self.taken.lock().await;
        taken.wait_for_all_but(0).await;
        std::mem::take(&mut taken)
    }

    /// Queues a part. One more may be under way meanwhile: the others have left the memory.
    async fn store(&self, part: Decoded) {
        let mut taken: MutexGuard<'_, Taken> = self.taken.lock().await;
        if taken.error.is_some() {
            return;
        }
        let Decoded { items, rejects, mended } = part;
        let ready: Ready = self.walk.ready(RawPage { items, rejects, mended, ..RawPage::empty(Next::FULL) });
        taken.keys.extend(ready.keys());
        let page = self.walk.part_of(self.cx, self.pass, taken.number, taken.parts, ready);
        taken.parts += 1;
        taken.queued.push_back(Box::pin(self.walk.commit(page)));
        taken.wait_for_all_but(1).await;
    }
}

impl tributary_connectors::Parts for Parts<'_> {
    fn take(&self, part: Decoded) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.store(part))
    }
}
