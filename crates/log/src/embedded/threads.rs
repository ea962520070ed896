//! The log's two threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::committer::Committer;
use super::compactor::Compactor;
use super::queue::{Gathered, Queue, Turn};
use super::shelf::{SEALED_MAX, Shelf};
use crate::{Error, ErrorKind};

/// How long nothing comes before the committer marks that all is durable.
const IDLE: Duration = Duration::from_millis(50);
/// How often the compactor looks for what time has made useless, and tries again after a failure.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for the compactor before the committer looks again whether the log is being closed.
const WAIT: Duration = Duration::from_secs(1);

/// The committer's and the compactor's thread; dropping this ends both in order.
pub(super) struct Threads {
    shelf: Arc<Shelf>,
    queue: Arc<Queue>,
    orders: Arc<Orders>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads are told.
#[derive(Default)]
struct Orders {
    closing: AtomicBool,
    /// Compactions asked for, with the segment ended, and finished.
    asked: AtomicU64,
    rolled: AtomicU64,
    finished: AtomicU64,
    /// The last order whose segment could not be ended, and why.
    not_rolled: Mutex<(u64, String)>,
    /// Why the compactor's last step failed, if it did, and the news it knew.
    failure: Mutex<Option<(u64, String)>>,
}

impl Threads {
    pub(super) fn start(
        shelf: &Arc<Shelf>,
        queue: &Arc<Queue>,
        committer: Committer,
    ) -> Result<Threads, Error> {
        let orders = Arc::new(Orders::default());
        let threads = Threads {
            shelf: Arc::clone(shelf),
            queue: Arc::clone(queue),
            orders: Arc::clone(&orders),
            handles: Mutex::default(),
        };
        let commit = (Arc::clone(shelf), Arc::clone(queue), Arc::clone(&orders));
        threads
            .spawn("affinity-commit", move || run_committer(&commit.0, &commit.1, &commit.2, committer))?;
        let compactor = Compactor::new(Arc::clone(shelf));
        let shelf = Arc::clone(shelf);
        threads.spawn("affinity-compact", move || run_compactor(&shelf, &orders, compactor))?;
        Ok(threads)
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let handle = std::thread::Builder::new().name(name.into()).spawn(body).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("thread {name} cannot be started: {error}"))
                .caused_by(error)
        })?;
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        Ok(())
    }

    /// Has the segment ended and waits until the compactor has nothing left to do.
    pub(super) fn compact(&self) -> Result<(), Error> {
        let order = self.orders.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.queue.nudge();
        loop {
            let seen = self.shelf.news();
            if self.orders.finished.load(Ordering::SeqCst) >= order {
                return Ok(());
            }
            if let Some(failure) = self.orders.not_rolled(order).or_else(|| self.orders.failure()) {
                return Err(Error::new(ErrorKind::Unavailable, failure));
            }
            self.shelf.wait(seen, WAIT);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.orders.closing.store(true, Ordering::SeqCst);
        self.queue.close();
        self.shelf.announce();
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in handles {
            if handle.join().is_err() {
                tracing::error!("a thread of the embedded log has panicked");
            }
        }
    }
}

impl Orders {
    fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, why)| why.clone())
    }

    /// Whether the compactor's last step failed although it knew this news.
    fn failed_since(&self, news: u64) -> bool {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().is_some_and(|(known, _)| *known >= news)
    }

    /// Why the segment could not be ended for `order`, if that is so.
    fn not_rolled(&self, order: u64) -> Option<String> {
        let (failed, why) = &*self.not_rolled.lock().unwrap_or_else(PoisonError::into_inner);
        (*failed >= order).then(|| why.clone())
    }

    fn note(&self, failure: Option<(u64, String)>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

fn run_committer(shelf: &Shelf, queue: &Queue, orders: &Orders, mut committer: Committer) {
    let mut gathered = Gathered::default();
    let mut limit = Some(IDLE);
    loop {
        match queue.take(&mut gathered, limit) {
            Turn::Closed => break,
            Turn::Nudged => end_segment(shelf, orders, &mut committer),
            Turn::Idle => {
                committer.mark();
                limit = None;
            }
            Turn::Commit => {
                committer.commit(&mut gathered, &mut || wait_for_compactor(shelf, orders));
                limit = Some(IDLE);
            }
        }
    }
    if let Err(error) = committer.finish() {
        tracing::warn!(%error, "the journal's end could not be marked; the next opening looks for it");
    }
}

/// The journal is not extended while too many sealed segments wait: appends wait with it, but not for a compactor that
/// fails. Answers whether it may be extended.
fn wait_for_compactor(shelf: &Shelf, orders: &Orders) -> bool {
    loop {
        let seen = shelf.news();
        if shelf.sealed() < SEALED_MAX || orders.closing() {
            return true;
        }
        if orders.failed_since(shelf.extended()) {
            return false;
        }
        shelf.wait(seen, WAIT);
    }
}

fn end_segment(shelf: &Shelf, orders: &Orders, committer: &mut Committer) {
    let asked = orders.asked.load(Ordering::SeqCst);
    match committer.roll_if_used(&mut || wait_for_compactor(shelf, orders)) {
        Ok(()) => drop(orders.rolled.fetch_max(asked, Ordering::SeqCst)),
        Err(error) => {
            let why = format!("the journal's segment cannot be ended: {error}");
            *orders.not_rolled.lock().unwrap_or_else(PoisonError::into_inner) = (asked, why);
        }
    }
    shelf.announce();
}

fn run_compactor(shelf: &Shelf, orders: &Orders, mut compactor: Compactor) {
    loop {
        let seen = shelf.news();
        if orders.closing() {
            return;
        }
        let rolled = orders.rolled.load(Ordering::SeqCst);
        match compactor.step() {
            Ok(true) => orders.note(None),
            Ok(false) => {
                orders.note(None);
                if orders.finished.fetch_max(rolled, Ordering::SeqCst) < rolled {
                    shelf.announce();
                } else {
                    shelf.wait(seen, LOOK);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "compaction has failed and is tried again");
                orders.note(Some((seen, format!("compaction has failed: {error}"))));
                shelf.announce();
                let now = shelf.news();
                if !orders.closing() && shelf.extended() <= seen {
                    shelf.wait(now, LOOK);
                }
            }
        }
    }
}
