//! Outcomes of appends, in the order of the log: what was acknowledged is visible, told and answered at once, and written to
//! the memstore a little later, many groups at a time, when the owner has nothing more urgent to do.

use std::task::{Context, Poll};
use std::time::Duration;

use affinity_log::{Ack, Outcome};
use affinity_memstore::StoreId;
use affinity_state::Own;
use affinity_types::{Offset, Sequence};

use super::effects::note_system;
use super::follow::tell_group;
use super::{Held, Owner, Protection, Sent};
use crate::message::Waiting;
use crate::phase::{Event, Phase};
use crate::{Failure, Partition};

/// Outcomes taken at once.
const ACKS_MAX: usize = 256;
/// Groups that have landed and wait for the memstore, at most.
const LANDED_MAX: usize = 512;

impl<P: Partition> Owner<P> {
    /// Takes outcomes; `true` if there may be more to do than to wait for a further one.
    pub(super) fn poll_acks(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..ACKS_MAX {
            let Held::Writer(writer) = &mut self.held else { return false };
            if self.gap.is_some() {
                return false;
            }
            let ack = match self.kept_ack.take() {
                Some(ack) => ack,
                None => match writer.poll_ack(cx) {
                    Poll::Pending => return false,
                    Poll::Ready(ack) => ack,
                },
            };
            self.take_ack(ack);
        }
        true
    }

    fn take_ack(&mut self, ack: Ack) {
        if let Phase::Barring(_) = self.phase {
            self.happen(match ack.outcome {
                Outcome::Appended { first, .. } => Event::Barred(first),
                Outcome::Refused => Event::BarrierRefused,
                Outcome::Unknown => Event::OutcomeUnknown,
                Outcome::Fenced => Event::Fenced,
            });
            return self.tell_applied();
        }
        match ack.outcome {
            Outcome::Appended { first, next } => {
                if first > self.reached() {
                    self.kept_ack = Some(ack);
                    self.stirred = true;
                    return self.read_gap(first);
                }
                self.land(ack.sequence, first, next);
            }
            Outcome::Refused => self.refuse(ack.sequence),
            Outcome::Unknown => {
                self.metrics.unknown.increment(1);
                self.happen(Event::OutcomeUnknown);
            }
            Outcome::Fenced => {
                self.metrics.fenced.increment(1);
                self.happen(Event::Fenced);
            }
        }
    }

    /// The offset behind everything that is applied or has landed.
    fn reached(&self) -> Offset {
        let landed = self.pending.landed().next_back().and_then(|group| group.with.offsets);
        landed.map_or(self.state.next(), |(_, next)| next.max(self.state.next()))
    }

    /// A group is in the log: tells the watchers, and answers.
    fn land(&mut self, sequence: Sequence, first: Offset, next: Offset) {
        self.acked = Some(sequence);
        if self.pending.landed().len() == LANDED_MAX {
            self.settle();
        }
        let polled_at = self.polled_at();
        let Some(group) = self.pending.land() else { return };
        assert_eq!(group.version.sequence, sequence, "outcomes come in the order of the appends");
        group.with.offsets = Some((first, next));
        self.metrics.append_seconds.record(polled_at.saturating_sub(group.with.sent));
        self.anchor = Some(group.with.sent);
        // What was read from the log in a gap has been told then.
        if !group.with.read {
            tell_group(&mut self.watches, group);
        }
        let system = group.changes.iter().filter(|(store, ..)| *store == StoreId::LAST);
        system.for_each(|(_, key, change)| note_system(&mut self.outbox, key, change.value.as_ref()));
        let receipts = std::mem::take(&mut group.with.receipts);
        if let Some(answer) = group.with.answer.take() {
            let waiting = group.with.waiting.take();
            self.retries -= waiting.retries();
            self.answer_landed(waiting, answer);
        }
        if !receipts.is_empty() {
            self.acknowledge(receipts);
        }
    }

    /// Writes what has landed to the memstore.
    pub(super) fn settle(&mut self) {
        if self.pending.landed().len() == 0 {
            return;
        }
        let known = self.state.next();
        let own = |group: &'_ Sent<P>| {
            let (first, next) = group.with.offsets.unwrap_or_default();
            (first >= known).then_some((first, next))
        };
        let groups: Vec<Own<'_>> = self
            .pending
            .landed()
            .filter_map(|group| Some((own(group)?, group)))
            .map(|((first, next), group)| Own {
                first,
                next,
                version: group.version,
                time: group.with.time,
                changes: &group.changes,
                repairs: &group.with.repairs,
                request: group.with.request.as_ref(),
            })
            .collect();
        let applied = self.state.apply_own(&groups);
        drop(groups);
        for group in self.pending.settled() {
            for place in &group.with.repairs {
                self.repairing.remove(place);
            }
            if let Some(request) = &group.with.request {
                self.asked.remove(&(request.id.client, request.id.sequence));
            }
        }
        match applied {
            Ok(()) => self.tell_listener(),
            Err(error) => self.break_down(&error),
        }
    }

    /// A group is not in the log, nor will those behind it be.
    fn refuse(&mut self, sequence: Sequence) {
        self.settle();
        let Some(group) = self.pending.refuse() else { return };
        self.metrics.refused.increment(1);
        assert_eq!(group.version.sequence, sequence, "outcomes come in the order of the appends");
        self.refusing = matches!(&self.held, Held::Writer(writer) if writer.in_flight() > 0);
        if let Some(request) = &group.with.request {
            self.asked.remove(&(request.id.client, request.id.sequence));
        }
        for place in &group.with.repairs {
            self.repairing.remove(place);
        }
        self.not_cleared(group.with.cleared);
        self.still_delayed(group.with.delayed);
        if group.with.answer.is_none() && group.with.receipts.is_empty() {
            // Nobody asked for it: it is tried again, but not at once.
            self.own_at = Some(self.now() + Duration::from_millis(self.settings.retry_ms));
        }
        self.expiry.forget();
        self.retries -= group.with.waiting.retries();
        self.fail_reads_of(sequence);
        group.with.waiting.fail(&Failure::Unavailable);
    }

    /// Answers a write that is in the log; while an earlier master may still answer reads from its lease, later.
    pub(super) fn answer_landed(&mut self, waiting: Waiting<P::Answer, P::Error>, answer: P::Answer) {
        if self.gate_open() {
            return waiting.answer(answer);
        }
        if waiting.count() > 0 {
            self.gated.count += waiting.count();
            self.gated.replies.push_back((waiting, answer));
        }
    }

    pub(super) fn reply_early(&self) -> bool {
        self.removed(Protection::ReplyAfterAck)
    }
}
