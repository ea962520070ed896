//! Slots: the partitions of all topics under the journal's own numbers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use affinity_types::{Epoch, EventTime, Offset};

use crate::{Cleanup, Topic, TopicPartition};

/// One partition of one topic.
pub(super) struct Slot {
    pub(super) number: u32,
    pub(super) place: TopicPartition,
    pub(super) topic: Arc<Topic>,
    gone: AtomicBool,
    preparations: AtomicU64,
    newest: AtomicU64,
    state: Mutex<SlotState>,
}

/// What of a slot is durable, and who waits for more.
#[derive(Debug, Default)]
pub(super) struct SlotState {
    pub(super) start: Offset,
    pub(super) end: Offset,
    /// Highest epoch of a group.
    pub(super) epoch: Epoch,
    /// Time of the newest group.
    pub(super) newest: Option<EventTime>,
    waiting: Vec<(u64, Waker)>,
}

impl SlotState {
    /// Has `waker` called, instead of the last one of this reader, when there is more.
    pub(super) fn wait(&mut self, reader: u64, waker: &Waker) {
        match self.waiting.iter_mut().find(|(id, _)| *id == reader) {
            Some((_, old)) => old.clone_from(waker),
            None => self.waiting.push((reader, waker.clone())),
        }
    }

    pub(super) fn forget(&mut self, reader: u64) {
        self.waiting.retain(|(id, _)| *id != reader);
    }

    /// Those to wake now.
    pub(super) fn take_waiting(&mut self) -> Vec<(u64, Waker)> {
        std::mem::take(&mut self.waiting)
    }
}

impl Slot {
    pub(super) fn new(number: u32, place: TopicPartition, topic: Arc<Topic>, state: SlotState) -> Slot {
        Slot {
            number,
            place,
            topic,
            gone: AtomicBool::new(false),
            preparations: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cleanup(&self) -> &Cleanup {
        &self.topic.spec.cleanup
    }

    /// The number of a new preparation: later ones are higher.
    pub(super) fn prepare(&self) -> u64 {
        self.preparations.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The preparation whose writer's first group came into the log last; 0 if there is none since the log was opened.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }

    pub(super) fn set_newest(&self, preparation: u64) {
        self.newest.fetch_max(preparation, Ordering::SeqCst);
    }

    /// Whether the topic was deleted.
    pub(super) fn gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// The topic was deleted: readers wake up to learn it.
    pub(super) fn leave(&self) {
        self.gone.store(true, Ordering::SeqCst);
        let waiting = self.state().take_waiting();
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}
