//! What tests and simulations do to the coordinator. All of it is a step that is over when the call returns, but for
//! [`MemoryCoordinator::arrival`].

use std::future::poll_fn;
use std::task::Poll;

use super::state::{CallId, CallView, Fault};
use super::{Delivery, MemoryCoordinator};
use crate::{PartitionName, Seen};

/// The network.
impl MemoryCoordinator {
    /// Whether calls travel at once or by hand from now on. Going over to automatic answers all that callers wait for, in
    /// the order in which the calls began; what was given up stays on the way.
    pub fn deliver(&self, delivery: Delivery) {
        self.shared.with(|state| state.deliver(delivery));
    }

    /// The held calls, in the order in which they began.
    #[must_use]
    pub fn held(&self) -> Vec<CallView> {
        self.shared.with(|state| state.held().collect())
    }

    /// Waits until a call is on the way whose caller waits, and shows the first such.
    pub async fn arrival(&self) -> CallView {
        poll_fn(|cx| self.shared.with(|state| state.arrival(cx.waker()).map_or(Poll::Pending, Poll::Ready)))
            .await
    }

    /// Lets a call that is on the way reach the coordinator, given up or not; its answer is held. Says whether it was on
    /// the way.
    pub fn perform(&self, id: CallId) -> bool {
        self.shared.with(|state| state.perform(id))
    }

    /// Tells the caller its answer, and performs the call before if it was on the way. Says whether somebody waited.
    pub fn answer(&self, id: CallId) -> bool {
        self.shared.with(|state| state.answer(id))
    }

    /// The caller is told that its answer was lost: `Unknown`, or `Unavailable` of a read. A compare-and-set on the way
    /// stays there, given up. Says whether somebody waited.
    pub fn lose(&self, id: CallId) -> bool {
        self.shared.with(|state| state.lose(id))
    }

    /// A call that is on the way is never performed; a caller who waits for it is told `Unavailable`. Says whether it was
    /// on the way.
    pub fn discard(&self, id: CallId) -> bool {
        self.shared.with(|state| state.discard(id))
    }

    /// The next `calls` calls that begin are `Unavailable` at once, however calls travel; 0 ends it.
    pub fn fail_calls(&self, calls: usize) {
        self.shared.with(|state| state.fail_calls(calls));
    }

    /// A compare-and-set that would reach the coordinator while its caller waits meets `fault`: the next one, or the one
    /// behind those that meet the faults injected before.
    pub fn inject(&self, fault: Fault) {
        self.shared.with(|state| state.inject(fault));
    }
}

/// The data.
impl MemoryCoordinator {
    /// What stands there now, without a call.
    #[must_use]
    pub fn entry(&self, partition: &PartitionName) -> Seen {
        self.shared.with(|state| state.entry(partition))
    }

    /// The coordinator has lost the entry: the partition was never seen, and its revisions begin again.
    pub fn wipe(&self, partition: &PartitionName) {
        self.shared.with(|state| state.wipe(partition));
    }

    /// The coordinator was restored from a backup, in which this stood.
    pub fn restore(&self, partition: &PartitionName, backup: Seen) {
        self.shared.with(|state| state.put_entry(partition, backup));
    }
}
