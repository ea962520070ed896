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
use affinity_types::Sequence;
use affinity_types::control::Control;
use affinity_types::effect::{self, Effect, EffectKind};
use bytes::Bytes;

use super::outbox::{CLEARS_MAX, Outbox, name_of};
use super::reads::HeldAnswer;
use super::{InFlight, Owner, Protection};
use crate::context::{Change, Done, Master, View, pending_changes};
use crate::effects::{Delivery, Emissions, Emitted, Receipt, To, receiver};
use crate::phase::Event;
use crate::{Failure, Incoming, Partition, Refused};

/// Effects whose time has come that are sent in one group, at most.
const DUE_MAX: usize = 64;

/// The store of the system's records that are state.
const SYSTEM: StoreId = StoreId::LAST;

/// What is known of effects that come, beside their records.
#[derive(Default)]
pub(super) struct Inbox {
    /// Receipts that earlier leases hold back.
    pub(super) gated: Vec<Receipt>,
    /// Failed tries of the next effect of a sender.
    pub(super) tries: BTreeMap<PartitionName, (u64, u32)>,
    /// An effect whose handler wants what cannot be done.
    refusing: Option<(PartitionName, u64)>,
    /// Numbers of the last effects applied, where a mutant keeps them here alone.
    applied: BTreeMap<PartitionName, u64>,
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
        let Some(done) = self.decide_effect(&from, number, &effect) else { return };
        let Done { mut changes, events, emissions, indexed, .. } = done;
        if self.stage(emissions, &mut changes, false).is_err() || self.too_long(&changes).is_some() {
            // What a handler emits to nowhere, or cannot be stored, is a refusal like any other: on the next try.
            return self.refuse_next(&from, number);
        }
        if self.removed(Protection::AppliedRecord) {
            self.inbox.applied.insert(from.clone(), number);
        } else {
            changes.push(Change::new(SYSTEM, key, Some(self.number(number))));
        }
        self.inbox.tries.remove(&from);
        match self.append_changes(changes, indexed, |with| {
            with.events = events;
            with.receipts.push(receipt);
        }) {
            Ok(()) | Err(AppendError::Full) => {}
            Err(AppendError::Lost) => self.happen(Event::Fenced),
            Err(error) => {
                tracing::warn!(partition = %self.name, %from, number, %error, "an effect's changes were not taken");
                self.refuse_next(&from, number);
            }
        }
    }

    /// What the group of an effect is to hold, its answer or refusal with it; nothing if it is to be tried again.
    fn decide_effect(&mut self, from: &PartitionName, number: u64, effect: &Effect) -> Option<Done> {
        let back = |kind, message| Emitted {
            to: To::Partition(from.clone()),
            kind,
            key: effect.key.clone(),
            tag: effect.tag.clone(),
            message,
            delayed: None,
        };
        let (outcome, mut done) = self.run_effect(from, effect);
        match (outcome, effect.kind) {
            (Ok(answer), EffectKind::Ask) => done.emissions.emitted.push(back(EffectKind::Answer, answer)),
            (Ok(_), _) => {}
            (Err(Refused(why)), kind) => {
                let tries = self.inbox.tries.entry(from.clone()).or_insert((number, 0));
                *tries = if tries.0 == number { (number, tries.1 + 1) } else { (number, 1) };
                if tries.1 < self.settings.effect_tries {
                    return None;
                }
                tracing::warn!(partition = %self.name, %from, number, why, "an effect is refused");
                (done.changes, done.events, done.indexed) = Default::default();
                done.emissions = Emissions::default();
                match kind {
                    EffectKind::Tell | EffectKind::Ask => {
                        done.emissions.emitted.push(back(EffectKind::Refusal, effect.message.clone()));
                    }
                    EffectKind::Answer | EffectKind::Refusal => self.metrics.effects_dropped.increment(1),
                }
            }
        }
        Some(done)
    }

    fn applied_of(
        &self,
        from: &PartitionName,
        key: &[u8],
    ) -> affinity_state::Result<(u64, Option<Sequence>)> {
        if self.removed(Protection::AppliedRecord) {
            return Ok((self.inbox.applied.get(from).copied().unwrap_or(0), None));
        }
        self.system_number(key)
    }

    /// The next try of an effect is its last.
    fn refuse_next(&mut self, from: &PartitionName, number: u64) {
        self.inbox.refusing = Some((from.clone(), number));
        self.inbox.tries.insert(from.clone(), (number, self.settings.effect_tries));
    }

    fn run_effect(&mut self, from: &PartitionName, effect: &Effect) -> (Result<Bytes, Refused>, Done) {
        let mut random = self.random.clone();
        let time = self.tick();
        let mut cx = Master::new(View::new(&self.state, &self.pending, time, &self.scratch), &mut random);
        let incoming = Incoming { from, effect };
        let refused = self.inbox.refusing.take_if(|(f, _)| f == from).is_some();
        let result = catch_unwind(AssertUnwindSafe(|| match effect.kind {
            _ if refused => Err(Refused("what its handler wants cannot be done".to_owned())),
            EffectKind::Tell | EffectKind::Ask => self.partition.effect(&mut cx, &incoming),
            EffectKind::Answer => self.partition.answered(&mut cx, &incoming).map(|()| Bytes::new()),
            EffectKind::Refusal => self.partition.refused(&mut cx, &incoming).map(|()| Bytes::new()),
        }));
        // What it met expired needs no deletes before: the group that is appended for it proves its time.
        let mut done = cx.finish(&result, P::INDICES);
        self.random = random;
        let result = match (done.fault.take(), result) {
            (Some(fault), _) => Err(Refused(fault.to_string())),
            (None, Err(_)) => Err(Refused("its handler panicked".to_owned())),
            (None, Ok(result)) => result,
        };
        (result, done)
    }

    /// Makes records of what was emitted and cancelled. With `limited`, a receiver that is too far behind refuses it.
    pub(super) fn stage(
        &self,
        emissions: Emissions,
        changes: &mut Vec<Change>,
        limited: bool,
    ) -> Result<(), Failure<P::Error>> {
        if emissions.is_empty() {
            return Ok(());
        }
        let corrupt = |error: affinity_state::Error| Failure::Corrupt(error.to_string());
        let mut last = BTreeMap::<PartitionName, u64>::new();
        let mut put = |key, value| changes.push(Change::new(SYSTEM, key, value));
        let now = self.time();
        for Emitted { to, kind, key, tag, message, delayed } in emissions.emitted {
            let (to, keyspace) = match to {
                To::Partition(name) => (name, None),
                To::Keyspace(keyspace) => {
                    let name = receiver(&*self.outbox.links, keyspace, &key);
                    (name.ok_or(Failure::Invalid("there is no such keyspace"))?, Some(keyspace))
                }
            };
            let due = delayed.as_ref().map_or(affinity_types::EventTime(0), |(due, _)| *due);
            if let (Some((due, token)), Some(keyspace)) = (&delayed, keyspace)
                && *due > now
            {
                let effect = Effect { kind, to: keyspace.to_owned(), key, tag, message, due: *due };
                put(self.control(effect::delayed(token)), Some(effect.frame(self.schemas.effect)));
                continue;
            }
            let text = to.to_string();
            let number = match last.get(&to) {
                Some(number) => number + 1,
                None => self.system_number(&self.control(effect::sent(&text))).map_err(corrupt)?.0 + 1,
            };
            let first = self.outbox.first_waiting(&to).unwrap_or(number);
            if limited && number.saturating_sub(first) >= self.settings.outbox_max as u64 {
                return Err(Failure::Overloaded);
            }
            last.insert(to, number);
            let key_of = self.control(effect::outgoing(&text, number));
            let effect = Effect { kind, to: text, key, tag, message, due };
            put(key_of, Some(effect.frame(self.schemas.effect)));
        }
        for token in emissions.cancelled {
            put(self.control(effect::delayed(&token.0)), None);
        }
        for (to, number) in last {
            put(self.control(effect::sent(&to.to_string())), Some(self.number(number)));
        }
        Ok(())
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
        let due = |outbox: &Outbox| {
            outbox.first_delayed().filter(|(due, _)| *due <= now).map(|(_, token)| token.clone())
        };
        let mut changes = Vec::new();
        let mut tokens = Vec::new();
        while tokens.len() < DUE_MAX && self.has_room() {
            let Some(token) = due(&self.outbox) else { break };
            self.outbox.forget_delayed(&token);
            let key = self.control(effect::delayed(&token));
            // One that was cancelled, in a group that is still in flight, is gone.
            let Ok((Some(value), _)) = self.system(&key) else { continue };
            let Ok(effect) = Effect::parse(&value) else { continue };
            tokens.push((token, effect.due));
            changes.push((key, effect));
        }
        if tokens.is_empty() {
            return false;
        }
        let keyspaces = changes.iter().map(|(_, effect)| effect);
        let emitted: Vec<Option<Emitted>> = keyspaces.map(|effect| self.undelayed(effect)).collect();
        let all = emitted.iter().all(Option::is_some);
        let emissions = Emissions { emitted: emitted.into_iter().flatten().collect(), cancelled: Vec::new() };
        let mut staged = Vec::new();
        let failed = !all || self.stage(emissions, &mut staged, false).is_err();
        staged.extend(changes.into_iter().map(|(key, _)| Change::new(SYSTEM, key, None)));
        let kept = tokens.clone();
        let appended = if failed {
            Err(AppendError::Full)
        } else {
            self.append_changes(staged, Vec::new(), |w| w.delayed = kept)
        };
        if let Err(error) = appended {
            self.still_delayed(tokens);
            self.own_at = Some(self.now() + Duration::from_millis(self.settings.retry_ms));
            if error == AppendError::Lost {
                self.happen(Event::Fenced);
            }
            return false;
        }
        true
    }

    fn undelayed(&self, effect: &Effect) -> Option<Emitted> {
        let to = receiver(&*self.outbox.links, &effect.to, &effect.key)?;
        Some(Emitted {
            to: To::Partition(to),
            kind: effect.kind,
            key: effect.key.clone(),
            tag: effect.tag.clone(),
            message: effect.message.clone(),
            delayed: None,
        })
    }

    /// Effects wait for their time as before.
    pub(super) fn still_delayed(&mut self, tokens: Vec<(String, affinity_types::EventTime)>) {
        tokens.iter().for_each(|(token, due)| self.outbox.delay(token, *due));
    }

    /// When effects have to be looked after though nothing comes.
    pub(super) fn effects_at(&self) -> Option<Duration> {
        self.epoch()?;
        let outbox = &self.outbox;
        let cleared = outbox.clear_at(Duration::from_millis(self.settings.effect_clear_ms));
        let delayed = outbox.first_delayed().map(|(due, _)| {
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
