//! Where the owners' groups wait for the committer: one queue for the node, so that one sync serves them all.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use affinity_types::{Group, Sequence};

use super::frame;
use super::writer::WriterState;
use crate::AppendError;

/// A group on its way: `length` bytes from `start` in the queue's buffer.
pub(super) struct Pending {
    pub(super) writer: Arc<WriterState>,
    pub(super) sequence: Sequence,
    pub(super) start: usize,
    pub(super) length: usize,
}

/// Groups that are committed together, encoded one behind the other but for offsets and checksums.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) bytes: Vec<u8>,
    pub(super) groups: Vec<Pending>,
}

impl Gathered {
    /// Adds a group whose encoding is at most `max` bytes long.
    pub(super) fn push(
        &mut self,
        writer: &Arc<WriterState>,
        group: &Group,
        max: usize,
    ) -> Result<(), AppendError> {
        let start = self.bytes.len();
        let length = frame::put_group(&mut self.bytes, writer.slot.number, group);
        if length > max {
            self.bytes.truncate(start);
            return Err(AppendError::TooLarge { bytes: length, max });
        }
        let sequence = group.version.sequence;
        self.groups.push(Pending { writer: Arc::clone(writer), sequence, start, length });
        Ok(())
    }
}

/// Turns of the processor that the committer leaves to the owners, at most, before it takes what has come: owners that were
/// just woken append in them, and one sync serves more. It waits for [`GATHER_PERCENT`] of what the last sync served.
const GATHER_TURNS_MAX: usize = 96;
/// Turns in a row that bring nothing, after which it waits no longer.
const GATHER_TURNS_STILL: usize = 24;
const GATHER_PERCENT: usize = 90;

#[derive(Default)]
struct State {
    gathered: Gathered,
    /// Groups that the last sync served.
    last: usize,
    /// Whether the committer sleeps.
    idle: bool,
    closed: bool,
    nudged: bool,
    /// Writers that wait for room.
    crowd: Vec<Waker>,
}

/// The queue between owners and committer.
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    /// Bytes from which on nothing more is taken.
    bytes_max: usize,
    /// Longest encoded group.
    group_max: usize,
}

/// What the committer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Commit what was gathered.
    Commit,
    /// Nothing came for a while.
    Idle,
    /// There is an order beside the queue.
    Nudged,
    /// The queue is closed and empty.
    Closed,
}

impl Queue {
    pub(super) fn new(bytes_max: usize, group_max: usize) -> Queue {
        Queue { state: Mutex::default(), filled: Condvar::new(), bytes_max, group_max }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a group, or says why not.
    pub(super) fn append(&self, writer: &Arc<WriterState>, group: &Group) -> Result<(), AppendError> {
        let mut state = self.state();
        if state.closed {
            return Err(AppendError::Lost);
        }
        if state.gathered.bytes.len() >= self.bytes_max {
            return Err(AppendError::Full);
        }
        state.gathered.push(writer, group, self.group_max)?;
        let wake = std::mem::take(&mut state.idle);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Whether there is room now; if not, `waker` is called when there is.
    pub(super) fn has_room(&self, waker: &Waker) -> bool {
        let mut state = self.state();
        if state.closed || state.gathered.bytes.len() < self.bytes_max {
            return true;
        }
        if !state.crowd.iter().any(|old| old.will_wake(waker)) {
            state.crowd.push(waker.clone());
        }
        false
    }

    /// Wakes the committer for an order beside the queue.
    pub(super) fn nudge(&self) {
        self.state().nudged = true;
        self.filled.notify_one();
    }

    /// No group is taken any more.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_one();
    }

    /// Leaves the owners some turns as long as they may bring more.
    fn gather<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let (mut count, mut still) = (0, 0);
        let enough = state.last * GATHER_PERCENT / 100;
        for _ in 0..GATHER_TURNS_MAX {
            let now = state.gathered.groups.len();
            still = if now == count { still + 1 } else { 0 };
            if now >= enough && still > 0 || still == GATHER_TURNS_STILL || state.closed {
                break;
            }
            count = now;
            drop(state);
            std::thread::yield_now();
            state = self.state();
        }
        state.last = state.gathered.groups.len();
        state
    }

    /// Waits for groups and takes all there are into `into`, which is empty; waits no longer than `limit`.
    pub(super) fn take(&self, into: &mut Gathered, limit: Option<Duration>) -> Turn {
        let mut state = self.state();
        while state.gathered.groups.is_empty() {
            if std::mem::take(&mut state.nudged) {
                return Turn::Nudged;
            }
            if state.closed {
                return Turn::Closed;
            }
            state.idle = true;
            let Some(limit) = limit else {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (woken, waited) =
                self.filled.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if waited.timed_out() && state.gathered.groups.is_empty() && !state.closed && !state.nudged {
                state.idle = false;
                return Turn::Idle;
            }
        }
        state.idle = false;
        state = self.gather(state);
        std::mem::swap(&mut state.gathered, into);
        let crowd = std::mem::take(&mut state.crowd);
        drop(state);
        crowd.into_iter().for_each(Waker::wake);
        Turn::Commit
    }
}
