//! Taking over and stepping down: what the phases say is done here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_cluster::ErrorKind::Invalid;
use affinity_cluster::{AttemptId, Cas, Mastership, Revision};
use affinity_log::{AppendError, Error, ErrorKind, Newest};
use affinity_types::{Epoch, Sequence, control};

use super::{Call, Held, InFlight, Owner, Protection, UnderWay};
use crate::phase::{self, Action, Candidate, Cause, Event, Phase};
use crate::{Failure, Partition};

impl<P: Partition> Owner<P> {
    /// Lets something happen to the phase, and does what follows.
    pub(super) fn happen(&mut self, event: Event) {
        let attempt = AttemptId(u128::from(self.random.next()) << 64 | u128::from(self.random.next()));
        let candidate = Candidate { node: &self.node, attempt };
        let before = std::mem::replace(&mut self.phase, Phase::Standby);
        let name = before.name();
        let cause = event.name();
        let (after, actions) = phase::step(before, event, &candidate);
        if after.name() != name {
            tracing::info!(partition = %self.name, from = name, to = after.name(), cause, "phase");
            self.metrics.phase(after.name(), cause);
            self.retry_at = None;
        }
        self.phase = after;
        self.stirred = true;
        let broken = self.broken.is_some();
        for action in actions {
            self.act(action);
            // One that broke the partition down has been overtaken by what that does.
            if self.broken.is_some() != broken {
                break;
            }
        }
    }

    /// Begins a call, in the place of one that may be under way.
    pub(super) fn begin(&mut self, call: Call) {
        let until = self.now().saturating_add(Duration::from_millis(self.settings.call_timeout_ms));
        self.call = Some(UnderWay { call, until });
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Read => {
                let (coordinator, name) = (Arc::clone(&self.coordinator), self.name.clone());
                self.begin(Call::Read(Box::pin(async move { coordinator.read(&name).await })));
            }
            Action::Prepare => {
                let (log, place) = (Arc::clone(&self.log), self.place.clone());
                self.begin(Call::Prepare(Box::pin(async move { log.prepare(&place).await })));
            }
            Action::Measure => {
                let (log, place) = (Arc::clone(&self.log), self.place.clone());
                let end = async move { Ok(log.bounds(&place).await?.end) };
                self.begin(Call::Measure(Box::pin(end)));
            }
            Action::Elect(revision, mastership) => self.elect(revision, mastership),
            Action::Open(epoch) => self.open(epoch),
            Action::Bar(epoch) => self.bar(epoch),
            Action::Serve(epoch) => self.serve(epoch),
            Action::DropWriter => self.drop_writer(),
            Action::StepDown(cause) => self.step_down(cause),
            Action::Wait => self.retry_at = Some(self.now() + Duration::from_millis(self.settings.retry_ms)),
        }
    }

    fn elect(&mut self, revision: Revision, mastership: Mastership) {
        let (coordinator, name) = (Arc::clone(&self.coordinator), self.name.clone());
        let elect = async move {
            let answer = coordinator.compare_and_set(&name, revision, mastership.clone()).await;
            // An earlier one of the same attempt may have been done.
            Ok(match answer? {
                Cas::Lost(seen) => {
                    affinity_cluster::settled(&seen, revision, mastership.attempt).unwrap_or(Cas::Lost(seen))
                }
                won => won,
            })
        };
        self.begin(Call::Elect(Box::pin(elect)));
    }

    fn open(&mut self, epoch: Epoch) {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Prepared(prepared) => self.begin(Call::Open(prepared.open(epoch))),
            _ => self.happen(Event::Overtaken),
        }
    }

    fn bar(&mut self, epoch: Epoch) {
        let time = self.time();
        let barrier = control::barrier_group(epoch, time, self.settings.lease_ms, self.schemas.control);
        let Held::Writer(writer) = &mut self.held else { return self.happen(Event::OutcomeUnknown) };
        self.last_sent_at = self.clock.elapsed();
        match writer.append(&barrier) {
            Ok(()) => (self.sent, self.sent_time) = (Sequence::FIRST, time),
            Err(AppendError::Full) => self.happen(Event::BarrierRefused),
            Err(error) => {
                tracing::warn!(partition = %self.name, %error, "the barrier could not be appended");
                self.happen(Event::Fenced);
            }
        }
    }

    /// The barrier is replayed: serve from here on.
    fn serve(&mut self, epoch: Epoch) {
        (self.tail, self.tail_at, self.gap, self.refusing) = (None, None, None, false);
        let known: BTreeSet<_> = self.state.leases().map(|(epoch, _)| epoch).collect();
        self.own_epochs.retain(|epoch| known.contains(epoch));
        // Not before: a barrier of this epoch that came first would be another's, with a lease of its own.
        self.own_epochs.insert(epoch);
        self.gate = self.gate.max(self.gate_of(epoch));
        for (_, lost) in std::mem::take(&mut self.undecided) {
            lost.with.waiting.fail(&Failure::Unavailable);
        }
        if let Err(error) = self.check_keys() {
            return self.break_down(&error);
        }
        if let Err(error) = self.load_outbox() {
            return self.break_down(&error);
        }
        tracing::info!(partition = %self.name, %epoch, "serving");
    }

    /// Until when earlier masters may answer reads from their leases, at the latest.
    fn gate_of(&self, epoch: Epoch) -> Option<Duration> {
        let known = matches!(&self.held, Held::Writer(writer) if writer.newest() != Newest::Unknown);
        if known || self.removed(Protection::Gate) {
            return None;
        }
        let drift = self.settings.clock_drift_percent.min(50);
        let earlier = self.state.leases().filter(|(e, _)| *e < epoch && !self.own_epochs.contains(e));
        let ends = earlier.map(|(_, lease)| {
            lease.heard
                + Duration::from_millis(lease.lease_ms.saturating_mul(100 + drift).div_ceil(100 - drift))
        });
        ends.max().filter(|end| *end > self.now())
    }

    fn drop_writer(&mut self) {
        self.settle();
        self.held = Held::Nothing;
        (self.call, self.gap, self.tail, self.kept_ack) = (None, None, None, None);
        (self.acked, self.anchor, self.refusing) = (None, None, false);
        for group in self.pending.take_all() {
            match group.with {
                InFlight { read: true, answer: Some(answer), waiting, receipts, .. } => {
                    self.acknowledge(receipts);
                    self.answer_landed(waiting, answer);
                }
                _ => drop(self.undecided.insert(group.version, group)),
            }
        }
        self.asked.clear();
        self.end_scans();
        self.retries = 0;
        // A repair that is lost is still due; one that has landed will be read.
        self.repairing.clear();
        self.inbox.tries.clear();
        self.outbox.clear();
        self.expiry.forget();
        self.own_at = None;
        for read in std::mem::take(&mut self.reads) {
            read.fail();
        }
    }

    fn step_down(&mut self, cause: Cause) {
        tracing::info!(partition = %self.name, ?cause, "standby");
        for (_, lost) in std::mem::take(&mut self.undecided) {
            lost.with.waiting.fail(&Failure::Unknown);
        }
        self.watches.end_all();
    }

    pub(super) fn poll_retry(&mut self) -> bool {
        let due = self.retry_at.is_some_and(|at| at <= self.now());
        if due {
            self.retry_at = None;
            self.happen(Event::Retry);
        }
        due
    }

    /// Takes the answer to the call under way.
    pub(super) fn poll_call(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(UnderWay { call, until }) = &mut self.call else { return false };
        let late = *until <= self.clock.elapsed();
        let event = match call {
            Call::Read(call) => match call.as_mut().poll(cx) {
                Poll::Pending if late => Event::Failed,
                Poll::Pending => return false,
                Poll::Ready(Ok(seen)) => Event::Read(seen),
                // A name that is not possible never becomes so.
                Poll::Ready(Err(error)) if error.kind() == Invalid => {
                    self.break_down(&error);
                    return true;
                }
                Poll::Ready(Err(_)) => Event::Failed,
            },
            Call::Elect(call) => match call.as_mut().poll(cx) {
                Poll::Pending if late => Event::Undecided,
                Poll::Pending => return false,
                Poll::Ready(Ok(decision)) => Event::Decided(decision),
                Poll::Ready(Err(error)) if error.kind() == Invalid => Event::Impossible,
                Poll::Ready(Err(_)) => Event::Undecided,
            },
            Call::Prepare(call) => match call.as_mut().poll(cx) {
                Poll::Pending if late => Event::Failed,
                Poll::Pending => return false,
                Poll::Ready(Ok(prepared)) => {
                    self.held = Held::Prepared(prepared);
                    Event::Prepared
                }
                Poll::Ready(Err(_)) => Event::Failed,
            },
            Call::Measure(call) => match call.as_mut().poll(cx) {
                Poll::Pending if late => Event::Failed,
                Poll::Pending => return false,
                Poll::Ready(answer) => answer.map_or(Event::Failed, Event::End),
            },
            Call::Open(call) => match call.as_mut().poll(cx) {
                Poll::Pending if late => Event::Failed,
                Poll::Pending => return false,
                Poll::Ready(Ok(writer)) => {
                    self.held = Held::Writer(writer);
                    Event::Opened
                }
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Fenced => Event::Overtaken,
                Poll::Ready(Err(_)) => Event::Failed,
            },
            Call::Tail(call) => {
                let answer = match call.as_mut().poll(cx) {
                    Poll::Pending if late => {
                        Err(Error::new(ErrorKind::Unavailable, "the log does not answer"))
                    }
                    Poll::Pending => return false,
                    Poll::Ready(answer) => answer,
                };
                self.call = None;
                self.take_tail(answer);
                return true;
            }
        };
        self.call = None;
        self.happen(event);
        // An end that was reached already is told at once.
        self.tell_applied();
        true
    }

    /// Tells the phase how far the log is applied.
    pub(super) fn tell_applied(&mut self) {
        let (next, epoch) = (self.state.next(), self.state.epoch());
        let event = match self.phase {
            Phase::CatchingUp(..) if self.removed(Protection::TakeOverOrder) => {
                Event::Applied { next: affinity_types::Offset(u64::MAX), epoch }
            }
            Phase::CatchingUp(..) => Event::Applied { next, epoch },
            Phase::Replaying(mine, _) if self.removed(Protection::TakeOverOrder) => {
                Event::Applied { next: affinity_types::Offset(u64::MAX), epoch: mine }
            }
            Phase::Replaying(mine, barrier) if next > barrier => {
                // Only one's own barrier may have begun the epoch.
                if self.barrier == Some((mine, barrier)) {
                    Event::Applied { next, epoch }
                } else {
                    Event::Outbid
                }
            }
            Phase::Opening(mine)
            | Phase::Barring(mine)
            | Phase::Replaying(mine, _)
            | Phase::Serving(mine)
                if epoch > mine =>
            {
                Event::Outbid
            }
            _ => return,
        };
        self.happen(event);
    }
}
