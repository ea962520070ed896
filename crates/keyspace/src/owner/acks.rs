//! Outcomes of appends: what was acknowledged becomes visible, in the order of the log.

use std::task::{Context, Poll};

use affinity_log::{Ack, Outcome};
use affinity_state::{Own, PendingGroup};
use affinity_types::{Offset, Sequence};

use super::{Held, InFlight, Owner, Protection};
use crate::message::ReplyTo;
use crate::phase::{Event, Phase};
use crate::{Failure, Partition};

/// Outcomes taken at once.
const ACKS_MAX: usize = 256;

/// A group that is in the log.
struct Landed<A, E> {
    group: PendingGroup<InFlight<A, E>>,
    first: Offset,
    next: Offset,
}

impl<P: Partition> Owner<P> {
    /// Takes outcomes; `true` if there may be more to do than to wait for a further one.
    pub(super) fn poll_acks(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        let mut landed = Vec::new();
        while self.gap.is_none() && landed.len() < ACKS_MAX {
            let Held::Writer(writer) = &mut self.held else { break };
            let ack = match self.kept_ack.take() {
                Some(ack) => ack,
                None => match writer.poll_ack(cx) {
                    Poll::Pending => {
                        moved = false;
                        break;
                    }
                    Poll::Ready(ack) => ack,
                },
            };
            moved = true;
            if !self.take_ack(ack, &mut landed) {
                break;
            }
        }
        self.land(landed);
        moved
    }

    /// Takes one outcome; `false` if those before it have to be applied first.
    fn take_ack(&mut self, ack: Ack, landed: &mut Vec<Landed<P::Answer, P::Error>>) -> bool {
        if let Phase::Barring(_) = self.phase {
            self.happen(match ack.outcome {
                Outcome::Appended { first, .. } => Event::Barred(first),
                Outcome::Refused => Event::BarrierRefused,
                Outcome::Unknown => Event::OutcomeUnknown,
                Outcome::Fenced => Event::Fenced,
            });
            self.tell_applied();
            return true;
        }
        match ack.outcome {
            Outcome::Appended { first, next } => {
                let reached =
                    landed.last().map_or(self.state.next(), |last| last.next.max(self.state.next()));
                if first > reached {
                    self.kept_ack = Some(ack);
                    if landed.is_empty() {
                        self.read_gap(first);
                    }
                    return false;
                }
                self.acked = Some(ack.sequence);
                if let Some(group) = self.pending.pop() {
                    assert_eq!(
                        group.version.sequence, ack.sequence,
                        "outcomes come in the order of the appends"
                    );
                    let polled_at = self.polled_at();
                    self.metrics.append_seconds.record(polled_at.saturating_sub(group.with.sent));
                    self.anchor = Some(group.with.sent);
                    landed.push(Landed { group, first, next });
                }
                true
            }
            Outcome::Refused => {
                self.refuse(ack.sequence);
                true
            }
            Outcome::Unknown | Outcome::Fenced => {
                self.land(std::mem::take(landed));
                let fenced = ack.outcome == Outcome::Fenced;
                if fenced {
                    self.metrics.fenced.increment(1);
                } else {
                    self.metrics.unknown.increment(1);
                }
                self.happen(if fenced { Event::Fenced } else { Event::OutcomeUnknown });
                false
            }
        }
    }

    /// A group is not in the log, nor will those behind it be.
    fn refuse(&mut self, sequence: Sequence) {
        let Some(group) = self.pending.pop() else { return };
        self.metrics.refused.increment(1);
        assert_eq!(group.version.sequence, sequence, "outcomes come in the order of the appends");
        self.refusing = matches!(&self.held, Held::Writer(writer) if writer.in_flight() > 0);
        self.forget_request(&group.with);
        self.stale.extend(group.with.repairs.iter().map(|(kind, key)| (kind.number(), key.clone())));
        self.fail_reads_of(sequence);
        self.answer_all(group.with, &Failure::Unavailable);
    }

    fn forget_request(&mut self, with: &InFlight<P::Answer, P::Error>) {
        if let Some(request) = &with.request {
            self.asked.remove(&(request.id.client, request.id.sequence));
        }
    }

    /// Makes acknowledged groups visible, tells the watchers, and answers.
    fn land(&mut self, landed: Vec<Landed<P::Answer, P::Error>>) {
        if landed.is_empty() {
            return;
        }
        let known = self.state.next();
        let own = |l: &'_ Landed<P::Answer, P::Error>| l.first >= known;
        let groups: Vec<Own<'_>> = landed
            .iter()
            .filter(|l| own(l))
            .map(|l| Own {
                first: l.first,
                next: l.next,
                version: l.group.version,
                time: l.group.with.time,
                changes: &l.group.changes,
                request: l.group.with.request.as_ref(),
            })
            .collect();
        if let Err(error) = self.state.apply_own(&groups) {
            drop(groups);
            landed.into_iter().for_each(|l| self.answer_all(l.group.with, &Failure::Unknown));
            return self.break_down(&error);
        }
        drop(groups);
        for Landed { group, first, .. } in landed {
            self.forget_request(&group.with);
            // What was read from the log in a gap has been told then.
            let told = first < known;
            if !told && !self.watches.is_empty() {
                for (store, key, change) in &group.changes {
                    self.watches.tell(*store, key, change.version, change.value.as_ref());
                }
            }
            for (store, key, event) in &group.with.events {
                self.watches.send(*store, key, event);
            }
            // Reading has noted stale records and those that mend them in their order.
            if !told && !self.stale.is_empty() {
                self.mend(&group);
            }
            let InFlight { waiting, answer, .. } = group.with;
            let Some(answer) = answer else { continue };
            self.answer_landed(waiting, answer);
        }
    }

    /// Answers a write that is in the log; while an earlier master may still answer reads from its lease, later.
    pub(super) fn answer_landed(&mut self, waiting: Vec<ReplyTo<P>>, answer: P::Answer) {
        if self.gate_open() { reply_all(waiting, answer) } else { self.gated.push_back((waiting, answer)) }
    }

    /// A valid record lies behind the stale ones of these keys now.
    fn mend(&mut self, group: &PendingGroup<InFlight<P::Answer, P::Error>>) {
        for (kind, key) in &group.with.repairs {
            self.stale.remove(&(kind.number(), key.clone()));
        }
        for (store, key, _) in &group.changes {
            let (kind, key) = self.state.names().key_of(*store, key);
            self.stale.remove(&(kind.number(), key));
        }
    }

    pub(super) fn reply_early(&self) -> bool {
        self.removed(Protection::ReplyAfterAck)
    }
}

/// Gives the answer to all who wait for it, the last one without a copy.
pub(super) fn reply_all<A: Clone, E>(mut waiting: Vec<ReplySender<A, E>>, answer: A) {
    let last = waiting.pop();
    for reply in waiting {
        let _ = reply.send(Ok(answer.clone()));
    }
    if let Some(reply) = last {
        let _ = reply.send(Ok(answer));
    }
}

type ReplySender<A, E> = tokio::sync::oneshot::Sender<crate::Reply<A, E>>;
