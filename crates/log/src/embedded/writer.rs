//! The owner's side of an append.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use affinity_types::{Epoch, Group, Sequence};

use super::queue::Queue;
use super::slot::Slot;
use crate::{
    Ack, AppendError, BoxFuture, Error, ErrorKind, Limits, Newest, Outcome, Prepared, Writer, admission,
};

/// A writer as the committer sees it.
pub(super) struct WriterState {
    pub(super) slot: Arc<Slot>,
    /// The preparation it was opened from.
    pub(super) preparation: u64,
    acks: Mutex<Acks>,
}

/// The outcomes that the owner has yet to take.
#[derive(Default)]
pub(super) struct Acks {
    queue: VecDeque<Ack>,
    waker: Option<Waker>,
    pub(super) standing: Standing,
}

/// What becomes of a writer's further groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    #[default]
    Good,
    /// A group was refused, and the owner has not yet taken all refusals: everything is refused.
    Refusing,
    /// An outcome was unknown: all are.
    Unknown,
    /// A newer writer has the partition.
    Fenced,
}

impl WriterState {
    pub(super) fn new(slot: Arc<Slot>, preparation: u64) -> WriterState {
        WriterState { slot, preparation, acks: Mutex::default() }
    }

    pub(super) fn acks(&self) -> MutexGuard<'_, Acks> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Acks {
    /// Hands an outcome to the owner and takes note of what it means for the writer.
    pub(super) fn push(&mut self, sequence: Sequence, outcome: Outcome) {
        match outcome {
            Outcome::Appended { .. } => {}
            Outcome::Refused => self.standing = Standing::Refusing,
            Outcome::Unknown => self.standing = Standing::Unknown,
            Outcome::Fenced => self.standing = Standing::Fenced,
        }
        self.queue.push_back(Ack { sequence, outcome });
    }

    /// The next outcome for the owner.
    pub(super) fn pop(&mut self) -> Option<Ack> {
        self.queue.pop_front()
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}

/// A take-over between its two steps.
pub(super) struct EmbeddedPrepared {
    pub(super) slot: Arc<Slot>,
    pub(super) queue: Arc<Queue>,
    pub(super) limits: Limits,
    pub(super) preparation: u64,
}

impl Prepared for EmbeddedPrepared {
    fn open(self: Box<Self>, epoch: Epoch) -> BoxFuture<'static, Result<Box<dyn Writer>, Error>> {
        Box::pin(async move {
            let EmbeddedPrepared { slot, queue, limits, preparation } = *self;
            let highest = slot.state().epoch;
            if slot.gone() {
                let message = format!("topic {} was deleted", slot.place.topic);
                return Err(Error::new(ErrorKind::Fenced, message));
            }
            if epoch <= highest || slot.newest() > preparation {
                let message =
                    format!("{}: epoch {highest} has the partition, epoch {epoch} cannot", slot.place);
                return Err(Error::new(ErrorKind::Fenced, message));
            }
            let state = Arc::new(WriterState::new(slot, preparation));
            let writer = EmbeddedWriter {
                state,
                queue,
                limits,
                epoch,
                last: None,
                in_flight: 0,
                waiting: None,
                landed: false,
                lost: false,
            };
            Ok(Box::new(writer) as Box<dyn Writer>)
        })
    }
}

struct EmbeddedWriter {
    state: Arc<WriterState>,
    queue: Arc<Queue>,
    limits: Limits,
    epoch: Epoch,
    last: Option<Sequence>,
    in_flight: usize,
    /// Who waits for room among the groups in flight.
    waiting: Option<Waker>,
    /// Whether a group of this writer is in the log.
    landed: bool,
    lost: bool,
}

impl Writer for EmbeddedWriter {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn append(&mut self, group: &Group) -> Result<(), AppendError> {
        if self.lost {
            return Err(AppendError::Lost);
        }
        admission::check(group, self.epoch, self.last, &self.limits)?;
        if self.in_flight >= self.limits.in_flight_max {
            return Err(AppendError::Full);
        }
        self.queue.append(&self.state, group)?;
        self.last = Some(group.version.sequence);
        self.in_flight += 1;
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AppendError>> {
        if self.lost {
            return Poll::Ready(Err(AppendError::Lost));
        }
        if self.in_flight >= self.limits.in_flight_max {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.queue.has_room(cx.waker()) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_ack(&mut self, cx: &mut Context<'_>) -> Poll<Ack> {
        let mut acks = self.state.acks();
        let Some(ack) = acks.pop() else {
            match &mut acks.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        self.in_flight -= 1;
        let drained = self.in_flight == 0;
        if drained && acks.standing == Standing::Refusing {
            acks.standing = Standing::Good;
        }
        drop(acks);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        match ack.outcome {
            Outcome::Appended { .. } => self.landed = true,
            Outcome::Unknown | Outcome::Fenced => self.lost = true,
            // Nothing of the writer is in the log: it begins again with its barrier.
            Outcome::Refused if drained && !self.landed => self.last = None,
            Outcome::Refused => {}
        }
        Poll::Ready(ack)
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn newest(&self) -> Newest {
        if self.lost || self.state.slot.gone() || self.state.slot.newest() != self.state.preparation {
            Newest::No
        } else {
            Newest::Yes
        }
    }
}
