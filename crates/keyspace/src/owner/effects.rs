//! Effects that come, and those that handlers emit: their records, and when they are sent and cleared.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Context;
use std::time::Duration;

use affinity_cluster::PartitionName;
use affinity_log::AppendError;
use affinity_memstore::{At, Scan, StoreId};
use affinity_state::IndexChange;
use affinity_types::codec::Decode;
use affinity_types::control::Control;
use affinity_types::effect::{self, Effect, EffectKind};
use affinity_types::saga::StepTag;
use affinity_types::{EventTime, Request, RequestId, Sequence};
use bytes::Bytes;

use super::outbox::{CLEARS_MAX, Outbox, name_of};
use super::reads::HeldAnswer;
use super::{InFlight, Owner, Protection};
use crate::context::{Change, Done, Master, View, pending_changes};
use crate::effects::{Delivery, Emissions, Emitted, Receipt, To, receiver};
use crate::phase::Event;
use crate::saga::{self, Pass, ROOM_BYTES, shortened};
use crate::{Failure, Incoming, Partition, Refused};

/// Effects whose time has come that are sent in one group, at most.
const DUE_MAX: usize = 64;
/// How long a delayed effect is left alone whose keyspace is not there, in milliseconds.
const ASTRAY_MS: u64 = 1000;
/// Bytes of a value that an effect leaves to another name and the reason of a refusal, whose lengths are limited.
const VALUE_RESERVED: usize = 2048;
/// Bytes of a group that it leaves to those, and to the records that may have to come with it.
const GROUP_RESERVED: usize = 4096;

/// The store of the system's records that are state.
const SYSTEM: StoreId = StoreId::LAST;

/// What is known of effects that come, beside their records.
#[derive(Default)]
pub(super) struct Inbox {
    /// Receipts that earlier leases hold back.
    pub(super) gated: Vec<Receipt>,
    /// Failed tries of the next effect of a sender.
    pub(super) tries: BTreeMap<PartitionName, (u64, u32)>,
}

/// What a handler of an effect said, if it did not panic.
type Ran = std::thread::Result<Result<Bytes, Refused>>;

/// A delayed effect whose time has come.
struct Due {
    token: String,
    effect: Effect,
    to: PartitionName,
}

/// An effect that has come, and is the next of its sender.
struct Come {
    from: PartitionName,
    number: u64,
    effect: Effect,
    /// Tells the sender; gone once it is with a group.
    receipt: Option<Receipt>,
}

/// What the group of an effect holds.
#[derive(Default)]
struct Decided {
    changes: Vec<Change>,
    events: Vec<(StoreId, Bytes, Bytes)>,
    indexed: Vec<IndexChange>,
    /// Sagas that are stuck from now on.
    stuck: u64,
}

/// Who emits, which says what limits count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Emitter {
    /// A handler of a command: a receiver that is too far behind refuses it.
    Command,
    /// A handler of an effect: it is never refused for who is behind, or two partitions could wait for each other.
    Effect,
    /// The owner, for what is in the log already in another form.
    Owner,
}

/// A sender as a client, for a mutant that knows effects by request ids.
fn sender(from: &PartitionName) -> u128 {
    from.to_string().bytes().fold(1 << 64, |hash, byte| hash << 8 ^ hash >> 64 ^ u128::from(byte))
}

/// What goes back to where an effect came from: an answer if it wants one, a refusal of what is not one itself.
fn back(from: &PartitionName, effect: &Effect, outcome: Result<Bytes, &str>) -> Option<Emitted> {
    let (kind, message) = match (effect.kind, &outcome) {
        (EffectKind::Ask, Ok(answer)) => (EffectKind::Answer, answer.clone()),
        (EffectKind::Step, Ok(answer)) => (EffectKind::StepAnswer, answer.clone()),
        (EffectKind::Tell | EffectKind::Ask, Err(_)) => (EffectKind::Refusal, effect.message.clone()),
        // A saga knows its message.
        (EffectKind::Step, Err(_)) => (EffectKind::StepRefusal, Bytes::new()),
        _ => return None,
    };
    let reason = outcome.err().map_or_else(String::new, shortened);
    let (to, key, tag) = (To::Partition(from.clone()), effect.key.clone(), effect.tag.clone());
    Some(Emitted { to, kind, key, tag, message, reason, delayed: None })
}

impl<P: Partition> Owner<P> {
    /// The value of a record of the system: the newest pending one, with its group, or that of the memstore.
    fn system(&self, key: &[u8]) -> affinity_state::Result<(Option<Bytes>, Option<Sequence>)> {
        if let Some(value) = self.pending.get(SYSTEM, key) {
            return Ok((value.value.clone(), Some(value.version.sequence)));
        }
        let value = self.state.get(SYSTEM, key)?;
        Ok((value.map(|value| Bytes::copy_from_slice(value.bytes())), None))
    }

    /// The number that a record of the system holds, 0 if there is none.
    fn system_number(&self, key: &[u8]) -> affinity_state::Result<(u64, Option<Sequence>)> {
        let (value, saw) = self.system(key)?;
        let number = value.and_then(|value| Control::parse(&value).ok().map(|control| control.number));
        Ok((number.unwrap_or(0), saw))
    }

    fn control(&self, key: Control<'_>) -> Bytes {
        key.frame(self.schemas.control)
    }

    fn number(&self, number: u64) -> Bytes {
        self.control(effect::number(number))
    }

    /// Handles an effect that has come.
    pub(super) fn take_effect(&mut self, delivery: Delivery) {
        let Delivery { from, number, effect, receipt } = delivery;
        let key = self.control(effect::applied(&from.to_string()));
        let (highest, saw) = match self.applied_of(&from, &key) {
            Ok(found) => found,
            Err(error) => return self.break_down(&error),
        };
        if number <= highest {
            // Applied before, or about to be: done when that is in the log.
            return self.hold(saw, HeldAnswer::Effect(receipt));
        }
        if number > highest + 1 {
            return;
        }
        let mut come = Come { from, number, effect, receipt: Some(receipt) };
        let Err(Refused(why)) = self.try_effect(&mut come, Pass::Run) else { return };
        if !self.is_last_try(&come) {
            return;
        }
        tracing::warn!(partition = %self.name, from = %come.from, number, why, "an effect is refused");
        if matches!(come.effect.kind, EffectKind::StepAnswer | EffectKind::StepRefusal) {
            self.stick(come, &why);
        } else {
            self.refuse_effect(come, &why);
        }
    }

    /// Runs the handler of an effect, and appends what it wants to change, its answer among that.
    fn try_effect(&mut self, come: &mut Come, pass: Pass<'_>) -> Result<(), Refused> {
        let (result, mut done) = self.run_effect(&come.from, &come.effect, pass);
        let answer = match (done.fault.take(), result) {
            // While an index is built that its handler needs, it is neither handled nor refused: it is delivered again.
            (Some(Failure::IndexBuilding { .. }), _) => return Ok(()),
            (Some(fault), _) => return Err(fault.into()),
            (None, Err(_)) => return Err(Refused("its handler panicked".to_owned())),
            (None, Ok(answer)) => answer?,
        };
        let Done { mut changes, events, mut emissions, indexed, stuck, .. } = done;
        emissions.emitted.extend(back(&come.from, &come.effect, Ok(answer)));
        self.stage(emissions, &mut changes, Emitter::Effect)?;
        self.append_effect(come, Decided { changes, events, indexed, stuck })
    }

    /// What became of a step is never lost: what its saga's function cannot take makes the saga stuck.
    fn stick(&mut self, mut come: Come, why: &str) {
        for pass in [Pass::RefuseSteps(why), Pass::Stick(why), Pass::StickWithout(why)] {
            match self.try_effect(&mut come, pass) {
                Ok(()) => return,
                Err(Refused(why)) => {
                    tracing::warn!(partition = %self.name, from = %come.from, ?pass, why, "a saga cannot go on");
                }
            }
        }
        self.drop_effect(come);
    }

    /// Appends what an effect changes, and that it is applied. With an error, nothing was appended, nor would it be the next time.
    fn append_effect(&mut self, come: &mut Come, decided: Decided) -> Result<(), Refused> {
        let Come { from, number, receipt, .. } = come;
        let Decided { mut changes, events, indexed, stuck } = decided;
        let request = self.applied_header(from, *number);
        if request.is_none() {
            let key = self.control(effect::applied(&from.to_string()));
            changes.push(Change::new(SYSTEM, key, Some(self.number(*number))));
        }
        if let Some(failure) = self.too_long(&changes) {
            return Err(failure.into());
        }
        match self.append_changes(changes, indexed, |with| {
            with.events = events;
            with.request = request;
            with.receipts.extend(receipt.take());
        }) {
            Ok(()) => {
                self.inbox.tries.remove(from);
                if self.removed(Protection::AppliedRecord) {
                    self.asked.insert((sender(from), *number), (0, self.sent));
                }
                self.metrics.sagas_stuck.increment(stuck);
            }
            Err(AppendError::Full) => {}
            Err(AppendError::Lost) => self.happen(Event::Fenced),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Counts a try of a sender's next effect.
    fn is_last_try(&mut self, come: &Come) -> bool {
        let number = come.number;
        let tries = self.inbox.tries.entry(come.from.clone()).or_insert((number, 0));
        *tries = if tries.0 == number { (number, tries.1 + 1) } else { (number, 1) };
        tries.1 >= self.settings.effect_tries
    }

    /// Moves on from an effect that nothing came of. A message goes back; an answer or a refusal is dropped.
    fn refuse_effect(&mut self, mut come: Come, why: &str) {
        if let Some(refusal) = back(&come.from, &come.effect, Err(why)) {
            let mut decided = Decided::default();
            let emissions = Emissions { emitted: vec![refusal], cancelled: Vec::new() };
            if let Err(failure) = self.stage(emissions, &mut decided.changes, Emitter::Owner) {
                return self.break_down(&failure);
            }
            match self.append_effect(&mut come, decided) {
                Ok(()) => return,
                // Its sender has wider limits than this owner.
                Err(Refused(why)) => {
                    tracing::error!(partition = %self.name, from = %come.from, why, "a refusal is dropped");
                }
            }
        }
        self.drop_effect(come);
    }

    /// Moves on from an effect without a word.
    fn drop_effect(&mut self, mut come: Come) {
        self.metrics.effects_dropped.increment(1);
        if let Err(Refused(why)) = self.append_effect(&mut come, Decided::default()) {
            tracing::error!(partition = %self.name, from = %come.from, why, "an effect cannot be moved on from");
        }
    }

    #[cfg_attr(
        not(feature = "mutants"),
        expect(unused_variables, reason = "only a mutant looks at the sender")
    )]
    fn applied_of(
        &self,
        from: &PartitionName,
        key: &[u8],
    ) -> affinity_state::Result<(u64, Option<Sequence>)> {
        #[cfg(feature = "mutants")]
        if self.removed(Protection::AppliedRecord) {
            let client = sender(from);
            let in_flight = self.asked.iter().filter(|((of, _), _)| *of == client);
            let pending = in_flight.map(|((_, number), (_, sequence))| (*number, Some(*sequence))).max();
            let in_log = self.state.requests().last_of(client).map(|number| (number, None));
            return Ok(pending.max(in_log).unwrap_or_default());
        }
        self.system_number(key)
    }

    /// What stands in a header for the number of the last effect applied, where a mutant has no record of it.
    fn applied_header(&self, from: &PartitionName, number: u64) -> Option<Request> {
        let id = RequestId { client: sender(from), sequence: number, issued: None };
        let removed = self.removed(Protection::AppliedRecord);
        removed.then(|| Request { id, hash: 0, result: Bytes::new() })
    }

    fn run_effect(&mut self, from: &PartitionName, effect: &Effect, pass: Pass<'_>) -> (Ran, Done) {
        let mut random = self.random.clone();
        let time = self.tick();
        let mut cx = Master::new(View::new(&self.state, &self.pending, time, &self.scratch), &mut random);
        let incoming = Incoming { from, effect };
        let result = catch_unwind(AssertUnwindSafe(|| match effect.kind {
            EffectKind::Tell | EffectKind::Ask | EffectKind::Step => {
                self.partition.effect(&mut cx, &incoming)
            }
            EffectKind::Answer => self.partition.answered(&mut cx, &incoming).map(|()| Bytes::new()),
            EffectKind::Refusal => self.partition.refused(&mut cx, &incoming).map(|()| Bytes::new()),
            EffectKind::StepAnswer | EffectKind::StepRefusal => {
                saga::tell::<P>(&mut cx, effect, pass).map(|()| Bytes::new())
            }
        }));
        // What it met expired needs no deletes before: the group that is appended for it proves its time.
        let done = cx.finish(&result, P::INDICES);
        self.random = random;
        (result, done)
    }

    /// Makes records of what was emitted and cancelled.
    pub(super) fn stage(
        &self,
        emissions: Emissions,
        changes: &mut Vec<Change>,
        emitter: Emitter,
    ) -> Result<(), Failure<P::Error>> {
        if emissions.is_empty() {
            return Ok(());
        }
        let corrupt = |error: affinity_state::Error| Failure::Corrupt(error.to_string());
        for step in emissions.emitted.iter().filter(|emitted| emitted.kind == EffectKind::Step) {
            self.check_step(&step.tag, changes)?;
        }
        let mut last = BTreeMap::<PartitionName, u64>::new();
        let mut put = |key, value| changes.push(Change::new(SYSTEM, key, value));
        let now = self.time();
        for Emitted { to, kind, key, tag, message, reason, delayed } in emissions.emitted {
            let (to, keyspace) = match to {
                To::Partition(name) => (name, None),
                To::Keyspace(keyspace) => {
                    let name = receiver(&*self.outbox.links, &keyspace, &key);
                    (name.ok_or(Failure::Invalid("there is no such keyspace"))?, Some(keyspace))
                }
            };
            let due = delayed.as_ref().map_or(EventTime(0), |(due, _)| *due);
            if let (Some((due, token)), Some(keyspace)) = (&delayed, keyspace)
                && *due > now
            {
                let effect = Effect { kind, to: keyspace.into_owned(), key, tag, message, reason, due: *due };
                put(self.control(effect::delayed(token)), Some(self.frame(&effect, emitter)?));
                continue;
            }
            let text = to.to_string();
            let number = match last.get(&to) {
                Some(number) => number + 1,
                None => {
                    let (last, outstanding) = self.sent_to(&to, &text).map_err(corrupt)?;
                    if emitter == Emitter::Command && outstanding >= self.settings.outbox_max as u64 {
                        return Err(Failure::Overloaded);
                    }
                    last + 1
                }
            };
            last.insert(to, number);
            let key_of = self.control(effect::outgoing(&text, number));
            let effect = Effect { kind, to: text, key, tag, message, reason, due };
            put(key_of, Some(self.frame(&effect, emitter)?));
        }
        for token in emissions.cancelled {
            put(self.control(effect::delayed(&token.0)), None);
        }
        for (to, number) in last {
            put(self.control(effect::sent(&to.to_string())), Some(self.number(number)));
        }
        Ok(())
    }

    /// The number of the last effect to a receiver, and how many are not done, those in flight to the log among them.
    fn sent_to(&self, to: &PartitionName, text: &str) -> affinity_state::Result<(u64, u64)> {
        let key = self.control(effect::sent(text));
        let (last, saw) = self.system_number(&key)?;
        let in_flight = saw.is_some_and(|saw| self.acked.is_none_or(|acked| acked < saw));
        let done = match self.outbox.first_waiting(to) {
            Some(first) => first - 1,
            None if in_flight => {
                let value = self.state.get(SYSTEM, &key)?;
                value
                    .and_then(|value| Control::parse(value.bytes()).ok().map(|done| done.number))
                    .unwrap_or(0)
            }
            None => last,
        };
        Ok((last, last.saturating_sub(done)))
    }

    /// Whether what becomes of a step finds its saga, and finds room in its record.
    fn check_step(&self, tag: &[u8], changes: &[Change]) -> Result<(), Failure<P::Error>> {
        let tag = StepTag::decode(tag).ok();
        let Some(tag) = tag.filter(|tag| P::SAGAS.iter().any(|saga| saga.name() == tag.store)) else {
            return Err(Failure::Invalid("the store of a saga is not among the partition's sagas"));
        };
        let store = self.state.names().id(&tag.store);
        let record = changes.iter().find(|change| Some(change.store) == store && change.key == tag.key);
        let bytes = record.and_then(|change| change.value.as_ref()).map_or(0, Bytes::len);
        let value_max = self.state.memstore().limits().value_max_bytes;
        let group_max = self.log.limits().group_bytes_max.saturating_sub(GROUP_RESERVED + tag.key.len());
        let max = value_max.min(group_max).saturating_sub(ROOM_BYTES);
        if bytes > max { Err(Failure::TooLarge { bytes, max }) } else { Ok(()) }
    }

    /// The bytes of an effect. One that is emitted leaves room for what becomes of it later: another name, and other records with it.
    fn frame(&self, effect: &Effect, emitter: Emitter) -> Result<Bytes, Failure<P::Error>> {
        let frame = effect.frame(self.schemas.effect);
        let (value_max, group_max) =
            (self.state.memstore().limits().value_max_bytes, self.log.limits().group_bytes_max);
        let max = value_max.saturating_sub(VALUE_RESERVED).min(group_max.saturating_sub(GROUP_RESERVED));
        let bytes = frame.len();
        if emitter != Emitter::Owner && bytes > max {
            return Err(Failure::TooLarge { bytes, max });
        }
        Ok(frame)
    }

    /// Appends changes that no command asked for.
    pub(super) fn append_changes(
        &mut self,
        mut changes: Vec<Change>,
        indexed: Vec<IndexChange>,
        keep: impl FnOnce(&mut InFlight<P::Answer, P::Error>),
    ) -> Result<(), AppendError> {
        let names = self.state.names();
        let records = changes.iter_mut().map(|change| change.take_record(names)).collect();
        let pending = |records, version| pending_changes(changes, records, indexed, version);
        self.append_group(records, pending, keep)
    }

    /// This owner is master now: reads what is to be sent.
    pub(super) fn load_outbox(&mut self) -> affinity_state::Result<()> {
        self.outbox.clear();
        let mut found = Vec::new();
        self.state.memstore().scan(At::Newest, &Scan::all(SYSTEM), &mut |key, value| {
            found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value.bytes())));
            ControlFlow::Continue(())
        })?;
        for (key, value) in found {
            note_system(&mut self.outbox, &key, Some(&value));
        }
        Ok(())
    }

    /// Sends what may be sent, and appends what follows from it; whether there is more to do.
    pub(super) fn poll_effects(&mut self, cx: &mut Context<'_>) -> bool {
        if self.epoch().is_none() {
            return false;
        }
        let (now, rest) = (self.polled_at(), Duration::from_millis(self.settings.retry_ms));
        let early = self.removed(Protection::ClearAfterDone);
        let mut moved = self.outbox.poll(cx, now, rest);
        self.metrics.effects_astray.increment(std::mem::take(&mut self.outbox.astray));
        if early {
            self.outbox.clear_early(now);
        }
        if self.refusing || self.gap.is_some() || self.own_at.is_some_and(|at| at > now) {
            return moved;
        }
        moved |= self.send_delayed();
        moved |= self.clear_done(now);
        moved
    }

    fn has_room(&self) -> bool {
        self.pending.in_flight() < self.settings.pending_max
    }

    /// Clears effects that are done from the log, many at a time.
    fn clear_done(&mut self, now: Duration) -> bool {
        let after = Duration::from_millis(self.settings.effect_clear_ms);
        if !self.has_room() {
            return false;
        }
        let outbox = &mut self.outbox;
        let due = outbox.done_since.is_some_and(|since| now >= since + after);
        if outbox.done.is_empty() || !due && outbox.done.len() < CLEARS_MAX {
            return false;
        }
        let count = outbox.done.len().min(CLEARS_MAX);
        let cleared: Vec<_> = outbox.done.drain(..count).collect();
        outbox.done_since = (!outbox.done.is_empty()).then_some(now);
        let change = |(to, number): &(PartitionName, u64)| {
            Change::new(SYSTEM, self.control(effect::outgoing(&to.to_string(), *number)), None)
        };
        let changes = cleared.iter().map(change).collect();
        let kept = cleared.clone();
        if let Err(error) = self.append_changes(changes, Vec::new(), |with| with.cleared = kept) {
            self.not_cleared(cleared);
            if error == AppendError::Lost {
                self.happen(Event::Fenced);
            }
            return false;
        }
        true
    }

    /// Effects that are done are still in the log.
    pub(super) fn not_cleared(&mut self, cleared: Vec<(PartitionName, u64)>) {
        let now = self.now();
        if !cleared.is_empty() {
            self.outbox.done.extend(cleared);
            self.outbox.done_since.get_or_insert(now);
        }
    }

    /// Gives effects whose time has come their numbers.
    fn send_delayed(&mut self) -> bool {
        let now = self.tick();
        if !self.has_room() || self.outbox.due(now).next().is_none() {
            return false;
        }
        let due = match self.take_due(now) {
            Ok(due) => due,
            Err(error) => {
                self.break_down(&error);
                return true;
            }
        };
        if due.is_empty() {
            // None of them can be sent, and they are put off.
            return true;
        }
        let (mut tokens, mut emissions, mut changes) = (Vec::new(), Emissions::default(), Vec::new());
        for Due { token, effect: Effect { kind, key, tag, message, due, .. }, to } in due {
            changes.push(Change::new(SYSTEM, self.control(effect::delayed(&token)), None));
            emissions.emitted.push(Emitted {
                to: To::Partition(to),
                kind,
                key,
                tag,
                message,
                reason: String::new(),
                delayed: None,
            });
            tokens.push((token, due));
        }
        if let Err(failure) = self.stage(emissions, &mut changes, Emitter::Owner) {
            self.break_down(&failure);
            return true;
        }
        let kept = tokens.clone();
        if let Err(error) = self.append_changes(changes, Vec::new(), |with| with.delayed = kept) {
            self.still_delayed(tokens);
            self.own_at = Some(self.now() + Duration::from_millis(self.settings.retry_ms));
            match error {
                AppendError::Lost => self.happen(Event::Fenced),
                AppendError::Full => {}
                error => tracing::error!(partition = %self.name, %error, "delayed effects were not taken"),
            }
            return false;
        }
        true
    }

    /// Takes from those whose time has come as many as fit into a group. One that cannot be sent now is put off, so that it holds up
    /// nobody: its record stays as it is.
    fn take_due(&mut self, now: EventTime) -> affinity_state::Result<Vec<Due>> {
        let first: Vec<String> = self.outbox.due(now).take(DUE_MAX).map(ToOwned::to_owned).collect();
        let (mut taken, mut room) = (Vec::new(), self.log.limits().group_bytes_max);
        let mut astray = None;
        for token in first {
            let (value, saw) = self.system(&self.control(effect::delayed(&token)))?;
            let effect = value.as_ref().and_then(|value| Effect::parse(value).ok());
            let (Some(value), Some(effect)) = (value, effect) else {
                // It is cancelled. If the log refuses the group that does so, it is not.
                match saw {
                    Some(_) => self.outbox.delay(&token, now.plus_ms(self.settings.retry_ms.max(1))),
                    None => self.outbox.forget_delayed(&token),
                }
                continue;
            };
            let Some(to) = receiver(&*self.outbox.links, &effect.to, &effect.key) else {
                self.metrics.effects_astray.increment(1);
                self.outbox.delay(&token, now.plus_ms(ASTRAY_MS));
                astray = Some(effect.to);
                continue;
            };
            let bytes = value.len() + GROUP_RESERVED;
            if !taken.is_empty() && bytes > room {
                break;
            }
            room = room.saturating_sub(bytes);
            self.outbox.forget_delayed(&token);
            taken.push(Due { token, effect, to });
        }
        if let Some(keyspace) = astray {
            tracing::warn!(partition = %self.name, keyspace, "delayed effects wait for a keyspace that is not there");
        }
        Ok(taken)
    }

    /// Effects wait for their time as before.
    pub(super) fn still_delayed(&mut self, tokens: Vec<(String, EventTime)>) {
        tokens.iter().for_each(|(token, due)| self.outbox.delay(token, *due));
    }

    /// When effects have to be looked after though nothing comes.
    pub(super) fn effects_at(&self) -> Option<Duration> {
        self.epoch()?;
        let outbox = &self.outbox;
        let cleared = outbox.clear_at(Duration::from_millis(self.settings.effect_clear_ms));
        let delayed = outbox.first_due().map(|due| {
            let left = due.0.saturating_sub(self.time().0).max(0);
            self.now() + Duration::from_millis(u64::try_from(left).unwrap_or(0))
        });
        // What is appended waits for what hinders that.
        let appended = cleared.into_iter().chain(delayed).min().filter(|_| self.keeps_up());
        let appended = appended.map(|at| at.max(self.own_at.unwrap_or_default()));
        outbox.rests_until().into_iter().chain(appended).min()
    }

    /// Receipts of a group that is in the log.
    pub(super) fn acknowledge(&mut self, receipts: Vec<Receipt>) {
        if self.gate_open() {
            receipts.into_iter().for_each(Receipt::done);
        } else {
            self.inbox.gated.extend(receipts);
        }
    }
}

/// Takes note of a record of the system that is in the log.
pub(super) fn note_system(outbox: &mut Outbox, key: &[u8], value: Option<&Bytes>) {
    let Ok(control) = Control::parse(key) else { return };
    let effect = value.and_then(|value| Effect::parse(value).ok());
    match (control.kind, effect) {
        ("effect", Some(effect)) => {
            if let Some(to) = name_of(control.scope) {
                outbox.put(&to, control.number, effect);
            }
        }
        ("delayed", Some(effect)) => outbox.delay(control.scope, effect.due),
        ("delayed", None) => outbox.forget_delayed(control.scope),
        _ => {}
    }
}
