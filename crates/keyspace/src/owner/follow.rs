//! Reading the log: as a standby, as a candidate, and where a gap shows that somebody else wrote.

use std::collections::BTreeMap;
use std::task::{Context, Poll};

use affinity_log::{Batch, Error, Tail};
use affinity_memstore::StoreId;
use affinity_state::indices::is_index;
use affinity_state::{Noted, PendingGroup, Watches};
use affinity_types::{Sequence, Version};
use bytes::Bytes;

use super::{Call, InFlight, Owner, Protection};
use crate::Partition;
use crate::phase::Phase;

/// What a batch did beside changing the state.
#[derive(Default)]
struct Followed {
    landed: Vec<Version>,
    /// The last change of each key.
    changed: BTreeMap<(StoreId, Bytes), Version>,
}

impl<P: Partition> Owner<P> {
    /// Whether a tail is wanted (always but while serving without a gap) and may be opened: the answer to a call wakes.
    pub(super) fn lacks_tail(&self) -> bool {
        let wanted = self.gap.is_some() || !matches!(self.phase, Phase::Serving(_));
        wanted && self.broken.is_none() && self.tail.is_none() && self.call.is_none()
    }

    fn want_tail(&mut self) -> bool {
        if !self.lacks_tail() || self.tail_at.is_some_and(|at| at > self.now()) {
            return false;
        }
        self.tail_at = None;
        let (log, place, next) = (std::sync::Arc::clone(&self.log), self.place.clone(), self.state.next());
        self.begin(Call::Tail(Box::pin(async move { log.tail(&place, next).await })));
        true
    }

    pub(super) fn take_tail(&mut self, answer: Result<Box<dyn Tail>, Error>) {
        match answer {
            Ok(tail) => self.tail = Some(tail),
            Err(error) => self.tail_failed(&error),
        }
    }

    fn tail_failed(&mut self, error: &Error) {
        if error.kind() == affinity_log::ErrorKind::Unavailable {
            tracing::warn!(partition = %self.name, %error, "the log cannot be read now");
            self.tail = None;
            let wait = std::time::Duration::from_millis(self.settings.retry_ms);
            self.tail_at = Some(self.clock.elapsed() + wait);
        } else {
            self.break_down(error);
        }
    }

    /// Applies what the tail has.
    pub(super) fn poll_tail(&mut self, cx: &mut Context<'_>) -> bool {
        if self.want_tail() {
            return true;
        }
        let Some(tail) = &mut self.tail else { return false };
        match tail.poll_batch(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(batch)) => {
                self.follow(&batch);
                true
            }
            Poll::Ready(Err(error)) => {
                self.tail_failed(&error);
                true
            }
        }
    }

    fn follow(&mut self, batch: &Batch) {
        let mut followed = Followed::default();
        let (watched, received) = (!self.watches.is_empty(), self.clock.elapsed());
        let barrier = &mut self.barrier;
        let (epoch, undecided) = (self.phase.serving(), &self.undecided);
        let own = |version: &Version| epoch == Some(version.epoch) || undecided.contains_key(version);
        let note = |noted: Noted<'_>| match noted {
            Noted::Barrier { epoch, offset } => *barrier = Some((epoch, offset)),
            Noted::SecondBarrier { .. } => {}
            Noted::Applied { version } => followed.landed.push(version),
            Noted::Written { store, key, version, repair } => {
                // What one's own groups changed is told with them.
                if watched && !repair && !own(&version) {
                    followed.changed.insert((store, Bytes::copy_from_slice(key)), version);
                }
            }
        };
        if let Err(error) = self.state.apply(batch, received, note) {
            return self.break_down(&error);
        }
        self.tell_followed(followed);
        self.tell_listener();
        if self.gap.is_some_and(|gap| self.state.next() >= gap) {
            (self.gap, self.tail) = (None, None);
        }
        self.tell_applied();
    }

    /// Tells watchers and askers what was found in the log.
    fn tell_followed(&mut self, followed: Followed) {
        for version in followed.landed {
            // What landed has everything of its epoch before it in the log, though compaction may have taken that.
            if self.epoch() == Some(version.epoch) {
                let watches = &mut self.watches;
                self.pending.through(version.sequence, |group| {
                    if !std::mem::replace(&mut group.with.read, true) {
                        tell_group(watches, group);
                    }
                });
            }
            let first = Version::new(version.epoch, Sequence::FIRST);
            let landed: Vec<_> = self.undecided.range(first..=version).map(|(version, _)| *version).collect();
            for version in landed {
                self.tell_landed(version);
            }
        }
        // Who enters and who leaves is known of one's own groups alone.
        if followed.changed.keys().any(|(store, _)| self.state.indices().covers(*store)) {
            self.watches.end_indices();
        }
        for ((store, key), version) in followed.changed {
            let Ok(value) = self.state.get(store, &key) else { continue };
            let bytes = value.map(|value| Bytes::copy_from_slice(value.bytes()));
            self.watches.tell(store, &key, version, bytes.as_ref());
        }
    }

    /// A group whose outcome was not known is in the log.
    fn tell_landed(&mut self, version: Version) {
        let Some(mut landed) = self.undecided.remove(&version) else { return };
        tell_group(&mut self.watches, &mut landed);
        self.acknowledge(landed.with.receipts);
        if let Some(answer) = landed.with.answer {
            self.answer_landed(landed.with.waiting, answer);
        }
    }

    /// Others have written up to `first`: read it before anything more is acknowledged.
    pub(super) fn read_gap(&mut self, first: affinity_types::Offset) {
        self.settle();
        if self.epoch().is_none() {
            return;
        }
        if self.removed(Protection::Contiguity) {
            let _ = self.state.skip_to(first);
            return;
        }
        self.metrics.gaps.increment(1);
        tracing::warn!(partition = %self.name, from = %self.state.next(), to = %first, "somebody else has appended");
        self.gap = Some(first);
    }
}

/// Tells the watchers what a group of one's own has changed, and then its events.
pub(super) fn tell_group<A, E>(watches: &mut Watches, group: &mut PendingGroup<InFlight<A, E>>) {
    if !watches.is_empty() {
        for (store, key, change) in &group.changes {
            if is_index(*store) {
                watches.tell_entry(*store, key, change.value.is_some());
            } else {
                watches.tell(*store, key, change.version, change.value.as_ref());
            }
        }
    }
    for (store, key, event) in std::mem::take(&mut group.with.events) {
        watches.send(store, &key, &event);
    }
}
