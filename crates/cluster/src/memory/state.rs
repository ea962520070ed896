//! Entries, and the calls between them and their callers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::task::Waker;

use super::Delivery;
use crate::{Cas, Error, ErrorKind, Mastership, PartitionName, Revision, Seen};

/// Identity of a call that is held. Later calls have higher ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub(super) u64);

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// [`Coordinator::read`](crate::Coordinator::read).
    Read,
    /// [`Coordinator::compare_and_set`](crate::Coordinator::compare_and_set).
    CompareAndSet {
        /// The revision it expects.
        expected: Revision,
        /// What it puts there.
        new: Mastership,
    },
}

/// How far a held call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has not reached the coordinator; its caller waits.
    OnTheWay,
    /// It has not reached the coordinator, and its caller has given it up.
    GivenUp,
    /// It was performed; its caller waits for the answer.
    Performed,
}

/// A held call, as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallView {
    /// Its identity.
    pub id: CallId,
    /// The partition it is about.
    pub partition: PartitionName,
    /// What it asks for.
    pub request: Request,
    /// How far it has come.
    pub stage: Stage,
}

/// What happens to a compare-and-set whose caller waits, so that its answer is `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is performed, won or lost; the answer is not told.
    AnswerLost,
    /// It is never performed.
    RequestLost,
    /// It stays on the way, given up: to be [performed](super::MemoryCoordinator::perform) later, or
    /// [never](super::MemoryCoordinator::discard).
    RequestDelayed,
}

/// An answer to either call.
#[derive(Debug)]
pub(super) enum Answer {
    Read(Seen),
    CompareAndSet(Cas),
}

pub(super) type Outcome = Result<Answer, Error>;

/// Where the work of a held call stands.
#[derive(Debug)]
enum Work {
    OnTheWay,
    Performed(Outcome),
    /// There is nothing left of it but what its caller was told.
    Over,
}

#[derive(Debug)]
enum Caller {
    Waits(Option<Waker>),
    Told(Outcome),
    Gone,
}

#[derive(Debug)]
struct Call {
    partition: PartitionName,
    request: Request,
    work: Work,
    caller: Caller,
}

impl Call {
    /// How far it has come, if it is held.
    fn stage(&self) -> Option<Stage> {
        match (&self.work, &self.caller) {
            (Work::OnTheWay, Caller::Waits(_)) => Some(Stage::OnTheWay),
            (Work::OnTheWay, _) => Some(Stage::GivenUp),
            (Work::Performed(_), Caller::Waits(_)) => Some(Stage::Performed),
            _ => None,
        }
    }

    /// What its caller is told when the answer does not come.
    fn lost(&self) -> Error {
        match self.request {
            Request::Read => unavailable(),
            Request::CompareAndSet { .. } => unknown(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    entries: HashMap<PartitionName, Seen>,
    delivery: Delivery,
    unavailable: usize,
    faults: VecDeque<Fault>,
    calls: BTreeMap<CallId, Call>,
    next: u64,
    /// Those who wait for a call to arrive.
    watchers: Vec<Waker>,
    /// To be woken when the lock is free.
    pub(super) woken: Vec<Waker>,
}

/// What the calls do.
impl State {
    /// Begins a call: its outcome if it is decided at once, else under which identity it is held.
    pub(super) fn begin(&mut self, partition: PartitionName, request: Request) -> Result<Outcome, CallId> {
        if let Err(error) = partition.validate() {
            return Ok(Err(error));
        }
        if self.unavailable > 0 {
            self.unavailable -= 1;
            return Ok(Err(unavailable()));
        }
        if self.delivery == Delivery::Automatic {
            return Ok(self.reach(partition, request));
        }
        let caller = Caller::Waits(None);
        Err(self.keep(Call { partition, request, work: Work::OnTheWay, caller }))
    }

    /// The answer, if the caller was told; else it is woken then.
    pub(super) fn poll(&mut self, id: CallId, waker: &Waker) -> Option<Outcome> {
        let call = self.calls.get_mut(&id)?;
        if let Caller::Waits(waiting) = &mut call.caller {
            *waiting = Some(waker.clone());
            return None;
        }
        let told = std::mem::replace(&mut call.caller, Caller::Gone);
        self.sweep(id);
        if let Caller::Told(outcome) = told { Some(outcome) } else { None }
    }

    /// The caller has dropped its future.
    pub(super) fn leave(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.caller = Caller::Gone;
            self.sweep(id);
        }
    }

    /// A call reaches the coordinator, or meets a fault just before or behind.
    fn reach(&mut self, partition: PartitionName, request: Request) -> Outcome {
        let Request::CompareAndSet { expected, new } = request else {
            return Ok(Answer::Read(self.entry(&partition)));
        };
        match self.faults.pop_front() {
            None => self.compare_and_set(&partition, expected, new),
            Some(Fault::AnswerLost) => {
                // Lost on its way back, whatever it says.
                let _ = self.compare_and_set(&partition, expected, new);
                Err(unknown())
            }
            Some(Fault::RequestLost) => Err(unknown()),
            Some(Fault::RequestDelayed) => {
                let request = Request::CompareAndSet { expected, new };
                self.keep(Call { partition, request, work: Work::OnTheWay, caller: Caller::Gone });
                Err(unknown())
            }
        }
    }

    fn compare_and_set(&mut self, partition: &PartitionName, expected: Revision, new: Mastership) -> Outcome {
        let seen = self.entry(partition);
        if seen.revision != expected {
            return Ok(Answer::CompareAndSet(Cas::Lost(seen)));
        }
        new.may_follow(&seen.mastership)?;
        let revision = Revision(expected.0 + 1);
        self.entries.insert(partition.clone(), Seen { mastership: new, revision });
        Ok(Answer::CompareAndSet(Cas::Won(revision)))
    }

    fn keep(&mut self, call: Call) -> CallId {
        let id = CallId(self.next);
        self.next += 1;
        self.calls.insert(id, call);
        self.woken.append(&mut self.watchers);
        id
    }

    fn on_call(&mut self, id: CallId, act: impl FnOnce(&mut Call)) {
        if let Some(call) = self.calls.get_mut(&id) {
            act(call);
        }
    }

    fn tell(&mut self, id: CallId, outcome: Outcome) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Caller::Waits(waker) = std::mem::replace(&mut call.caller, Caller::Told(outcome)) {
            self.woken.extend(waker);
        }
    }

    /// Forgets a call that means nothing to anybody any more.
    fn sweep(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let lands = matches!(call.work, Work::OnTheWay) && call.request != Request::Read;
        if matches!(call.caller, Caller::Gone) && !lands {
            self.calls.remove(&id);
        }
    }
}

/// What tests do.
impl State {
    pub(super) fn entry(&self, partition: &PartitionName) -> Seen {
        self.entries.get(partition).cloned().unwrap_or_default()
    }

    pub(super) fn put_entry(&mut self, partition: &PartitionName, seen: Seen) {
        self.entries.insert(partition.clone(), seen);
    }

    pub(super) fn wipe(&mut self, partition: &PartitionName) {
        self.entries.remove(partition);
    }

    pub(super) fn fail_calls(&mut self, calls: usize) {
        self.unavailable = calls;
    }

    pub(super) fn inject(&mut self, fault: Fault) {
        self.faults.push_back(fault);
    }

    pub(super) fn deliver(&mut self, delivery: Delivery) {
        self.delivery = delivery;
        if delivery == Delivery::Automatic {
            let waiting: Vec<CallId> =
                self.held().filter(|call| call.stage != Stage::GivenUp).map(|call| call.id).collect();
            for id in waiting {
                self.answer(id);
            }
        }
    }

    pub(super) fn held(&self) -> impl Iterator<Item = CallView> {
        self.calls.iter().filter_map(|(&id, call)| {
            let (partition, request) = (call.partition.clone(), call.request.clone());
            call.stage().map(|stage| CallView { id, partition, request, stage })
        })
    }

    /// The first call that is on the way, or its caller is woken when there is one more.
    pub(super) fn arrival(&mut self, waker: &Waker) -> Option<CallView> {
        let first = self.held().find(|call| call.stage == Stage::OnTheWay);
        if first.is_none() {
            self.watchers.push(waker.clone());
        }
        first
    }

    pub(super) fn perform(&mut self, id: CallId) -> bool {
        let Some(call) = self.calls.get_mut(&id).filter(|call| matches!(call.work, Work::OnTheWay)) else {
            return false;
        };
        call.work = Work::Over;
        let waits = matches!(call.caller, Caller::Waits(_));
        let (partition, request) = (call.partition.clone(), call.request.clone());
        match request {
            // Nobody is left whom a fault could deceive.
            Request::CompareAndSet { expected, new } if !waits => {
                let _ = self.compare_and_set(&partition, expected, new);
                self.sweep(id);
            }
            request => {
                let outcome = self.reach(partition, request);
                self.on_call(id, |call| call.work = Work::Performed(outcome));
            }
        }
        true
    }

    pub(super) fn answer(&mut self, id: CallId) -> bool {
        if !self.calls.get(&id).is_some_and(|call| matches!(call.caller, Caller::Waits(_))) {
            return false;
        }
        self.perform(id);
        let work = self.calls.get_mut(&id).map(|call| std::mem::replace(&mut call.work, Work::Over));
        if let Some(Work::Performed(outcome)) = work {
            self.tell(id, outcome);
        }
        true
    }

    pub(super) fn lose(&mut self, id: CallId) -> bool {
        let Some(call) = self.calls.get_mut(&id).filter(|call| matches!(call.caller, Caller::Waits(_)))
        else {
            return false;
        };
        if matches!(call.work, Work::Performed(_)) || call.request == Request::Read {
            call.work = Work::Over;
        }
        let error = call.lost();
        self.tell(id, Err(error));
        true
    }

    pub(super) fn discard(&mut self, id: CallId) -> bool {
        let Some(call) = self.calls.get_mut(&id).filter(|call| matches!(call.work, Work::OnTheWay)) else {
            return false;
        };
        call.work = Work::Over;
        if matches!(call.caller, Caller::Waits(_)) {
            self.tell(id, Err(unavailable()));
        }
        self.sweep(id);
        true
    }
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "the coordinator does not answer; nothing was done")
}

fn unknown() -> Error {
    Error::new(ErrorKind::Unknown, "the coordinator's answer was lost; it may have been done")
}
