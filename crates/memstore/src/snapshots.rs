//! The open snapshots of a store.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{Error, Limits, Result};

/// A snapshot of one memstore, to be read through it and closed by it. Dropped without being closed it is closed by age.
/// One that is shown to another memstore than its own means nothing there.
#[derive(Debug)]
#[must_use = "what a snapshot keeps is kept until it is closed"]
pub struct Snapshot {
    number: u64,
}

/// The open snapshots, oldest first, each with what its backend needs to read from it.
#[derive(Debug)]
pub(crate) struct Snapshots<T> {
    open: VecDeque<Open<T>>,
    next_number: u64,
}

#[derive(Debug)]
struct Open<T> {
    number: u64,
    since: Duration,
    view: T,
}

impl<T> Snapshots<T> {
    pub(crate) fn new() -> Snapshots<T> {
        Snapshots { open: VecDeque::new(), next_number: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Opens one more, which has to be the newest.
    pub(crate) fn open(&mut self, view: T, now: Duration, limits: &Limits) -> Result<Snapshot> {
        if self.open.len() >= limits.snapshots_max {
            return Err(Error::TooManySnapshots { max: limits.snapshots_max });
        }
        let number = self.next_number;
        self.next_number += 1;
        self.open.push_back(Open { number, since: now, view });
        Ok(Snapshot { number })
    }

    /// What is needed to read from `snapshot`.
    pub(crate) fn view(&self, snapshot: &Snapshot) -> Result<&T> {
        self.place(snapshot).map(|i| &self.open[i].view).ok_or(Error::SnapshotExpired)
    }

    #[expect(clippy::needless_pass_by_value, reason = "a closed snapshot cannot be read from")]
    pub(crate) fn close(&mut self, snapshot: Snapshot) {
        if let Some(i) = self.place(&snapshot) {
            self.open.remove(i);
        }
    }

    /// Closes those that are too old and says how many.
    pub(crate) fn close_aged(&mut self, now: Duration, limits: &Limits) -> usize {
        let before = self.open.len();
        self.open.retain(|s| now.saturating_sub(s.since) <= limits.snapshot_age_max);
        before - self.open.len()
    }

    fn place(&self, snapshot: &Snapshot) -> Option<usize> {
        self.open.binary_search_by_key(&snapshot.number, |s| s.number).ok()
    }

    pub(crate) fn oldest(&self) -> Option<&T> {
        self.open.front().map(|s| &s.view)
    }

    pub(crate) fn newest(&self) -> Option<&T> {
        self.open.back().map(|s| &s.view)
    }

    pub(crate) fn close_oldest(&mut self) {
        self.open.pop_front();
    }
}
