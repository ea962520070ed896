//! The coordinator in memory, and its calls as futures.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::state::{Answer, CallId, Outcome, Request, State};
use crate::{BoxFuture, Cas, Coordinator, Error, Mastership, PartitionName, Revision, Seen};

/// How calls travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// At once.
    #[default]
    Automatic,
    /// By hand: every call is held until the test moves it.
    Manual,
}

/// A coordinator in memory. A clone is another handle to the same one. See the [module](super).
#[derive(Clone, Debug, Default)]
pub struct MemoryCoordinator {
    pub(super) shared: Shared,
}

impl MemoryCoordinator {
    /// A coordinator that has seen no partition.
    #[must_use]
    pub fn new() -> MemoryCoordinator {
        MemoryCoordinator::default()
    }

    fn call(&self, partition: &PartitionName, request: Request) -> Call {
        Call { shared: self.shared.clone(), step: Step::Begin(Some((partition.clone(), request))) }
    }
}

impl Coordinator for MemoryCoordinator {
    fn read<'a>(&'a self, partition: &'a PartitionName) -> BoxFuture<'a, Result<Seen, Error>> {
        Box::pin(async {
            match self.call(partition, Request::Read).await? {
                Answer::Read(seen) => Ok(seen),
                Answer::CompareAndSet(_) => unreachable!("a read is answered as one"),
            }
        })
    }

    fn compare_and_set<'a>(
        &'a self,
        partition: &'a PartitionName,
        expected: Revision,
        new: Mastership,
    ) -> BoxFuture<'a, Result<Cas, Error>> {
        Box::pin(async move {
            match self.call(partition, Request::CompareAndSet { expected, new }).await? {
                Answer::CompareAndSet(cas) => Ok(cas),
                Answer::Read(_) => unreachable!("a compare-and-set is answered as one"),
            }
        })
    }
}

/// The state behind its lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    /// Acts under the lock, and wakes behind it whom that concerns.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.lock().expect("nobody panics under the lock");
        let result = act(&mut state);
        let woken = std::mem::take(&mut state.woken);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        result
    }
}

/// A call in its caller's hands. Dropping it gives up the answer, not the call.
struct Call {
    shared: Shared,
    step: Step,
}

enum Step {
    Begin(Option<(PartitionName, Request)>),
    Held(CallId),
    Over,
}

impl Future for Call {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Step::Begin(begin) = &mut self.step {
            let (partition, request) = begin.take().expect("it begins once");
            match self.shared.with(|state| state.begin(partition, request)) {
                Ok(outcome) => {
                    self.step = Step::Over;
                    return Poll::Ready(outcome);
                }
                Err(id) => self.step = Step::Held(id),
            }
        }
        let Step::Held(id) = self.step else { panic!("it was polled after its end") };
        match self.shared.with(|state| state.poll(id, cx.waker())) {
            Some(outcome) => {
                self.step = Step::Over;
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Step::Held(id) = self.step {
            self.shared.with(|state| state.leave(id));
        }
    }
}
