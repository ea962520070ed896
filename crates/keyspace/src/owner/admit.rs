//! Taking messages: running handlers and appending what they change.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use affinity_log::AppendError;
use affinity_memstore::Expiring;
use affinity_state::{Known, PendingGroup, Update};
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::{Attributes, Epoch, Group, Record, Request, RequestId, Sequence, Version};

use super::effects::Emitter;
use super::expiry::Buried;
use super::reads::HeldAnswer;
use super::{Held, InFlight, Owner, Protection};
use crate::context::{Change, Done, Master, View, judge, pending_changes};
use crate::message::{Message, ReplyTo, Subscription, Waiting, Watched};
use crate::phase::{Event, Phase};
use crate::{Failure, Partition, Reply};

impl<P: Partition> Owner<P> {
    /// Takes messages as long as there is room for what they may append or hold; `true` if there may be more to do than
    /// to wait for a further one.
    pub(super) fn poll_mailbox(&mut self, cx: &mut Context<'_>, turns: &mut usize) -> bool {
        let mut moved = false;
        while *turns > 0 && self.admits(cx) {
            let message = match self.waiting.take() {
                Some(message) => message,
                None => match self.mailbox.poll_recv(cx) {
                    Poll::Ready(Some(message)) => message,
                    Poll::Ready(None) | Poll::Pending => return false,
                },
            };
            *turns = turns.saturating_sub(message.turns());
            moved = true;
            match self.phase {
                Phase::Serving(epoch) => self.handle(epoch, message),
                _ => message.fail(Failure::Unavailable),
            }
            if self.waiting.is_some() {
                break;
            }
        }
        moved
    }

    /// Whether messages are taken now: a candidate lets them wait, a standby answers that it is none to ask.
    fn admits(&mut self, cx: &mut Context<'_>) -> bool {
        match self.phase {
            Phase::Standby => return true,
            Phase::Serving(_) => {}
            _ => return false,
        }
        if self.refusing
            || self.gap.is_some()
            || self.pending.in_flight() >= self.settings.pending_max
            || self.held_count() >= self.settings.held_reads_max
        {
            return false;
        }
        if self.waiting.is_none() {
            return true;
        }
        let Held::Writer(writer) = &mut self.held else { return false };
        !writer.poll_ready(cx).is_pending()
    }

    fn handle(&mut self, epoch: Epoch, message: Message<P>) {
        match message {
            Message::Command { command, request, deadline, reply } => {
                if deadline.is_some_and(|deadline| deadline <= self.now()) {
                    return send(reply, Err(Failure::DeadlinePassed));
                }
                let (reply, hash) = match request {
                    None => (reply, 0),
                    Some(id) => {
                        let Some(hash) = contained(|| hash(&command.to_bytes())) else {
                            return send(reply, Err(Failure::Panicked));
                        };
                        match self.look_up(&id, hash, reply) {
                            Some(reply) => (reply, hash),
                            None => return,
                        }
                    }
                };
                self.run_command(epoch, Asked { command, request, deadline, reply, hash });
            }
            Message::Query { query, deadline, reply } => {
                if deadline.is_some_and(|deadline| deadline <= self.now()) {
                    return drop(reply.send(Err(Failure::DeadlinePassed)));
                }
                self.run_query(query, deadline, reply);
            }
            Message::Watch { subscription, reply } => self.watch(subscription, reply),
            Message::WatchIndex { index, prefix, reply } => match self.bury_all() {
                Buried::Sent(saw) => self.watch_index(index, &prefix, saw, reply),
                Buried::Later => self.waiting = Some(Message::WatchIndex { index, prefix, reply }),
                Buried::Never => drop(reply.send(Err(Failure::Unavailable))),
            },
            Message::Scan { ask, deadline, reply } => {
                if deadline.is_some_and(|deadline| deadline <= self.now()) {
                    return drop(reply.send(Err(Failure::DeadlinePassed)));
                }
                match self.bury_all() {
                    Buried::Sent(saw) => self.scan(epoch, ask, saw, reply),
                    Buried::Later => self.waiting = Some(Message::Scan { ask, deadline, reply }),
                    Buried::Never => drop(reply.send(Err(Failure::Unavailable))),
                }
            }
            Message::EndScan { continuation } => self.end_scan(continuation.number),
            Message::Effect(delivery) => self.take_effect(delivery),
        }
    }

    /// What is known of a request; answers it if anything is, and gives the reply back if it is new.
    #[expect(clippy::option_option, reason = "a reply that nobody waits for is still one")]
    fn look_up(
        &mut self,
        id: &RequestId,
        hash: u64,
        reply: Option<ReplyTo<P>>,
    ) -> Option<Option<ReplyTo<P>>> {
        if self.removed(Protection::RequestWindow) {
            return Some(reply);
        }
        let mut asked = self.asked.get(&(id.client, id.sequence)).copied();
        if asked.is_some_and(|(_, sequence)| self.acked.is_some_and(|acked| acked >= sequence)) {
            self.settle();
            asked = None;
        }
        if self.epoch().is_none() {
            // That broke the partition down.
            send(reply, Err(Failure::Unavailable));
            return None;
        }
        if let Some((theirs, sequence)) = asked {
            let reply = reply?;
            if theirs != hash {
                // Like a read of the other request, which may still be refused.
                self.hold(Some(sequence), HeldAnswer::Message(reply, Err(Failure::Conflict)));
            } else {
                // The same request is in flight: its answer is this one's too.
                let retries = &mut self.retries;
                self.pending.with(sequence, |with| {
                    with.waiting.push(reply);
                    *retries += 1;
                });
            }
            return None;
        }
        let time = self.time();
        self.state.evict_requests(time);
        let answer = match self.state.requests().look_up(id, hash, time) {
            Known::New => return Some(reply),
            Known::Answered(bytes) => {
                // It was applied, and what it answered cannot be told.
                let answer = contained(|| P::Answer::decode(&bytes));
                let answer = answer.unwrap_or_else(|| Err(CodecError("it panicked".into())));
                answer.map_err(|error| {
                    tracing::error!(partition = %self.name, %error, "a remembered answer cannot be read");
                    Failure::Unknown
                })
            }
            Known::Conflict => Err(Failure::Conflict),
            Known::Expired => Err(Failure::RequestExpired),
            Known::FromTheFuture => Err(Failure::Invalid("the request was issued in the future")),
        };
        match (reply, answer) {
            // Like the first answer to it, it waits for the gate.
            (Some(reply), Ok(answer)) => self.answer_landed(Some(reply).into(), answer),
            (reply, answer) => send(reply, answer),
        }
        None
    }

    fn run_query(&mut self, query: P::Query, deadline: Option<std::time::Duration>, reply: ReplyTo<P>) {
        let time = self.tick();
        let view = View::new(&self.state, &self.pending, time, &self.scratch);
        let result = catch_unwind(AssertUnwindSafe(|| self.partition.query(&view, &query)));
        let (saw, fault, expired) = (view.saw(), view.take_fault(), view.take_expired());
        let answer = judge(result, fault);
        match self.bury(expired) {
            Buried::Sent(buried) => self.hold(saw.max(buried), HeldAnswer::Message(reply, answer)),
            Buried::Later => self.waiting = Some(Message::Query { query, deadline, reply }),
            Buried::Never => drop(reply.send(Err(Failure::Unavailable))),
        }
    }

    fn run_command(&mut self, epoch: Epoch, asked: Asked<P>) {
        let mut random = self.random.clone();
        let time = self.tick();
        let view = View::new(&self.state, &self.pending, time, &self.scratch);
        let mut cx = Master::new(view, &mut random);
        let result = catch_unwind(AssertUnwindSafe(|| self.partition.command(&mut cx, &asked.command)));
        let Done { mut changes, events, emissions, saw, fault, indexed, mut expired, stuck } =
            cx.finish(&result, P::INDICES);
        let answer = match judge(result, fault) {
            Ok(answer) if !changes.is_empty() || !events.is_empty() || !emissions.is_empty() => answer,
            unchanged => {
                // It changes nothing: it is released as a read.
                self.random = random;
                return self.hold_reply(saw, expired, asked, unchanged);
            }
        };
        if let Err(failure) = self.stage(emissions, &mut changes, Emitter::Command) {
            return self.hold_reply(saw, expired, asked, Err(failure));
        }
        if let Some(failure) = self.too_long(&changes) {
            return self.hold_reply(saw, expired, asked, Err(failure));
        }
        let request = match self.remembered(&asked, &answer) {
            Ok(request) => request,
            Err(failure) => return self.hold_reply(saw, expired, asked, Err(failure)),
        };
        // What it changes itself needs no delete before.
        expired.retain(|met| !changes.iter().any(|c| c.store == met.store && c.key == met.key));
        let saw = match self.bury(expired) {
            Buried::Sent(buried) => saw.max(buried),
            Buried::Later => return self.waiting = Some(asked.into_message()),
            Buried::Never => return send(asked.reply, Err(Failure::Unavailable)),
        };
        self.random = random;
        self.metrics.sagas_stuck.increment(stuck);
        let version = Version::new(epoch, self.sent.next());
        let names = self.state.names();
        let mut records: Vec<_> = changes.iter_mut().map(|change| change.take_record(names)).collect();
        if records.is_empty() {
            // Events alone need a place in the order.
            records = affinity_types::control::no_op_group(version, time, self.schemas.control).records;
        }
        let attributes = Attributes { request: request.clone(), ..Attributes::default() };
        let group = Group { version, time, attributes, records };
        self.append(asked, saw, group, |records, sent, waiting| PendingGroup {
            version,
            changes: pending_changes(changes, records, indexed, version),
            with: InFlight { request, events, answer: Some(answer), waiting, ..InFlight::own(time, sent) },
        });
    }

    /// A command has changed nothing: its answer is released as that of a read.
    fn hold_reply(
        &mut self,
        saw: Option<Sequence>,
        expired: Vec<Expiring>,
        asked: Asked<P>,
        answer: Reply<P::Answer, P::Error>,
    ) {
        if asked.reply.is_none() {
            return;
        }
        let saw = match self.bury(expired) {
            Buried::Sent(buried) => saw.max(buried),
            Buried::Later => return self.waiting = Some(asked.into_message()),
            Buried::Never => return send(asked.reply, Err(Failure::Unavailable)),
        };
        if let Some(reply) = asked.reply {
            self.hold(saw, HeldAnswer::Message(reply, answer));
        }
    }

    /// What the log took and the memstore refused would stop the partition for good.
    pub(super) fn too_long(&self, changes: &[Change]) -> Option<Failure<P::Error>> {
        let limits = self.state.memstore().limits();
        let lengths = changes.iter().flat_map(|change| {
            let value = change.value.as_ref().map_or(0, bytes::Bytes::len);
            [(change.key.len(), limits.key_max_bytes - KEY_RESERVED), (value, limits.value_max_bytes)]
        });
        let (bytes, max) = lengths.into_iter().find(|(length, max)| length > max)?;
        Some(Failure::TooLarge { bytes, max })
    }

    /// How the changelog is to remember a request.
    fn remembered(&self, asked: &Asked<P>, answer: &P::Answer) -> Result<Option<Request>, Failure<P::Error>> {
        let Some(id) = asked.request else { return Ok(None) };
        let Some(result) = contained(|| answer.to_bytes()) else { return Err(Failure::Panicked) };
        if result.len() > self.settings.result_max_bytes {
            return Err(Failure::Invalid(
                "the answer is longer than one that is remembered under a request id",
            ));
        }
        Ok(Some(Request { id, hash: asked.hash, result }))
    }

    fn append(
        &mut self,
        asked: Asked<P>,
        saw: Option<Sequence>,
        group: Group,
        pending: impl FnOnce(
            Vec<Record>,
            std::time::Duration,
            Waiting<P::Answer, P::Error>,
        ) -> PendingGroup<InFlight<P::Answer, P::Error>>,
    ) {
        let polled_at = self.polled_at();
        let Held::Writer(writer) = &mut self.held else {
            return send(asked.reply, Err(Failure::Unavailable));
        };
        match writer.append(&group) {
            Ok(()) => {
                if let Some(id) = asked.request {
                    self.asked.insert((id.client, id.sequence), (asked.hash, group.version.sequence));
                }
                let mut pending = pending(group.records, polled_at, asked.reply.into());
                if self.reply_early()
                    && let Some(answer) = pending.with.answer.clone()
                {
                    pending.with.waiting.take().answer(answer);
                }
                self.pushed(pending);
            }
            Err(AppendError::Full) => self.waiting = Some(asked.into_message()),
            Err(AppendError::TooLarge { bytes, max }) => {
                self.hold_reply(saw, Vec::new(), asked, Err(Failure::TooLarge { bytes, max }));
            }
            Err(AppendError::Invalid(why)) => {
                self.hold_reply(saw, Vec::new(), asked, Err(Failure::Invalid(why)));
            }
            Err(AppendError::Lost) => {
                self.waiting = Some(asked.into_message());
                self.happen(Event::Fenced);
            }
        }
    }

    fn watch(
        &mut self,
        subscription: Subscription,
        reply: tokio::sync::oneshot::Sender<crate::Reply<Watched, P::Error>>,
    ) {
        self.settle();
        if self.epoch().is_none() {
            return drop(reply.send(Err(Failure::Unavailable)));
        }
        let time = self.tick();
        let Subscription { store, key } = &subscription;
        let (version, value, expires) = match self.state.get(*store, key) {
            Err(error) => return drop(reply.send(Err(Failure::Corrupt(error.to_string())))),
            Ok(None) => (Version::default(), None, None),
            Ok(Some(value)) => {
                (value.version(), Some(bytes::Bytes::copy_from_slice(value.bytes())), value.expires())
            }
        };
        let (mut saw, mut current) = (None, Update::Value { value, version });
        if let Some(expires) = expires.filter(|expires| *expires <= time) {
            // It begins with none, and is told of the delete, or of what else replaces the value, like the others.
            current = Update::Value { value: None, version: Version::default() };
            saw = self.pending.get(*store, key).map(|pending| pending.version.sequence);
            if saw.is_none() {
                match self.bury(vec![Expiring { store: *store, key: key.clone(), expires }]) {
                    Buried::Sent(buried) => saw = buried,
                    Buried::Later => return self.waiting = Some(Message::Watch { subscription, reply }),
                    Buried::Never => return drop(reply.send(Err(Failure::Unavailable))),
                }
            }
        }
        match self.watches.watch(*store, key, version) {
            None => drop(reply.send(Err(Failure::Overloaded))),
            Some(watch) => self.hold(saw, HeldAnswer::Watch(reply, Watched { current, watch })),
        }
    }
}

/// Bytes that a key leaves to the system, which has entries about keys in the memstore too.
const KEY_RESERVED: usize = 64;

/// A command as it was asked.
struct Asked<P: Partition> {
    command: P::Command,
    request: Option<RequestId>,
    deadline: Option<std::time::Duration>,
    reply: Option<ReplyTo<P>>,
    hash: u64,
}

impl<P: Partition> Asked<P> {
    fn into_message(self) -> Message<P> {
        let Asked { command, request, deadline, reply, .. } = self;
        Message::Command { command, request, deadline, reply }
    }
}

/// Runs code of the application beside its handlers; `None` if it panicked, which concerns nobody but who asked for it.
fn contained<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

fn send<A, E>(reply: Option<tokio::sync::oneshot::Sender<crate::Reply<A, E>>>, answer: crate::Reply<A, E>) {
    if let Some(reply) = reply {
        let _ = reply.send(answer);
    }
}

/// 64 bits of a request's bytes (FNV-1a, Fowler, Noll, Vo): a sender's own mistakes are to be found, not its malice.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
