//! What a handler sees and does.

mod lookups;
mod scan;

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::Bound;

use affinity_memstore::{Expiring, Scan, StoreId};
use affinity_state::{IndexChange, Pending, PendingValue, State, StoreNames};
use affinity_types::codec::{Decode, Encode, Room};
use affinity_types::effect::EffectKind;
use affinity_types::format::{Format, StoreFormat};
use affinity_types::{EventTime, Key, Record, RecordKind, Sequence, Version};
use bytes::Bytes;
use thiserror::Error;

use self::scan::Overlaid;
use crate::effects::{DelayedEffect, Destination, Emissions, Emitted};
use crate::failure::{Failure, Never, Reply};
use crate::index::Indexed;
use crate::owner::InFlight;
use crate::partition::Store;
use crate::random::Random;

pub use lookups::LOOK_UP_MAX;

/// A partition's state for a query: that of the log and what is pending over it.
pub struct View<'a> {
    state: &'a State,
    pending: &'a dyn Overlay,
    now: EventTime,
    /// The newest pending group of which anything was seen.
    saw: Cell<Option<Sequence>>,
    /// What could not be read: the handler's result does not count then.
    fault: RefCell<Option<Failure<Never>>>,
    /// Expired values that were met, and are not deleted yet.
    expired: RefCell<Vec<Expiring>>,
    scratch: &'a Scratch,
}

/// A store, and how its keys and values look.
#[derive(Clone, Copy)]
struct StorePlace<'a> {
    id: StoreId,
    format: &'a StoreFormat,
}

/// Why a store's types cannot be used.
const UNBOUND: &str =
    "the partition was opened without the formats of a store of records, or with formats of another";

/// Room that the views of a partition use one after the other.
#[derive(Default)]
pub(crate) struct Scratch {
    /// For the bytes of a key.
    key: RefCell<Vec<u8>>,
    /// For what values keep of their bytes.
    room: RefCell<Room>,
}

/// Pending changes, whatever their owner keeps with them.
pub(crate) trait Overlay {
    fn pending(&self, store: StoreId, key: &[u8]) -> Option<(Option<Bytes>, Version, Option<EventTime>)>;

    /// The changes in a range, in its order.
    fn range(&self, scan: &Scan) -> Vec<Overlaid>;

    /// Shows the newest changes of an index's entries in a range.
    fn entries(&self, index: StoreId, range: (Bound<&[u8]>, Bound<&[u8]>), show: &mut ShowEntry<'_>);
}

/// Shows an entry, the group that changes it, and what becomes of it as [`IndexChange::put`] says.
pub(crate) type ShowEntry<'s> = dyn FnMut(&Bytes, Sequence, Option<Option<EventTime>>) + 's;

impl<T> Overlay for Pending<T> {
    fn pending(&self, store: StoreId, key: &[u8]) -> Option<(Option<Bytes>, Version, Option<EventTime>)> {
        let value = self.get(store, key)?;
        Some((value.value.clone(), value.version, value.expires))
    }

    fn range(&self, scan: &Scan) -> Vec<Overlaid> {
        let over = |(key, value): (&Bytes, &PendingValue)| Overlaid {
            key: key.clone(),
            value: value.value.clone(),
            expires: value.expires,
            group: Some(value.version.sequence),
        };
        Pending::range(self, scan).into_iter().map(over).collect()
    }

    fn entries(&self, index: StoreId, range: (Bound<&[u8]>, Bound<&[u8]>), show: &mut ShowEntry<'_>) {
        for (entry, change) in Pending::entries(self, index, range) {
            show(entry, change.version.sequence, change.value.as_ref().map(|_| change.expires));
        }
    }
}

impl<'a> View<'a> {
    pub(crate) fn new(
        state: &'a State,
        pending: &'a dyn Overlay,
        now: EventTime,
        scratch: &'a Scratch,
    ) -> View<'a> {
        let (saw, fault, expired) = (Cell::new(None), RefCell::new(None), RefCell::default());
        View { state, pending, now, saw, fault, expired, scratch }
    }

    /// The partition's time: the latest of the owner's clock, the log's last timestamp and that of what was sent.
    #[must_use]
    pub fn now(&self) -> EventTime {
        self.now
    }

    /// The value of a key.
    pub fn get<K: Encode + ?Sized, V: Decode>(&self, store: &Store<K, V>, key: &K) -> Option<V> {
        self.look_up(store, key)?.0
    }

    /// The version of a key's value: the tag to hold against later.
    pub fn version<K: Encode + ?Sized, V>(&self, store: &Store<K, V>, key: &K) -> Option<Version> {
        let place = self.place(store)?;
        self.read(place, key, |_| ()).map(|(_, version)| version)
    }

    fn look_up<K: Encode + ?Sized, V: Decode>(
        &self,
        store: &Store<K, V>,
        key: &K,
    ) -> Option<(Option<V>, Version)> {
        let place = self.place(store)?;
        self.read(place, key, |bytes| self.decode(store.name(), &place.format.value, bytes))
    }

    /// Reads a key that is there and has not expired.
    fn read<K: Encode + ?Sized, T>(
        &self,
        place: StorePlace<'_>,
        key: &K,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Option<(T, Version)> {
        let mut encoded = self.scratch.key.borrow_mut();
        encoded.clear();
        place.format.key.encode(key, &mut encoded);
        self.read_bytes(place.id, &encoded, take)
    }

    fn read_bytes<T>(
        &self,
        store: StoreId,
        key: &[u8],
        take: impl FnOnce(&[u8]) -> T,
    ) -> Option<(T, Version)> {
        if let Some((value, version, expires)) = self.pending.pending(store, key) {
            self.saw.set(self.saw.get().max(Some(version.sequence)));
            return value.filter(|_| self.is_alive(store, key, expires)).map(|value| (take(&value), version));
        }
        match self.state.get(store, key) {
            Ok(found) => found
                .filter(|value| self.is_alive(store, key, value.expires()))
                .map(|value| (take(value.bytes()), value.version())),
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// Whether a value has not expired; remembers one that has.
    fn is_alive(&self, store: StoreId, key: &[u8], expires: Option<EventTime>) -> bool {
        let Some(expires) = expires.filter(|expires| *expires <= self.now) else { return true };
        let mut met = self.expired.borrow_mut();
        if !met.iter().rev().take(MET_COMPARED).any(|other| other.store == store && other.key == key) {
            met.push(Expiring { store, key: Bytes::copy_from_slice(key), expires });
        }
        false
    }

    fn decode<V: Decode>(&self, store: &str, format: &Format, bytes: &[u8]) -> Option<V> {
        let decoded = format.decode_within::<V>(bytes, &mut self.scratch.room.borrow_mut());
        decoded.map_err(|error| self.fail(format!("a value of store {store}: {error}"))).ok()
    }

    /// Where keys of this type are.
    fn place<K: Encode + ?Sized, V>(&self, store: &Store<K, V>) -> Option<StorePlace<'a>> {
        let id = self.id(store.name())?;
        let format = self.state.names().format(id);
        self.fits::<K>(&format.key).then_some(StorePlace { id, format })
    }

    /// Whether a type is written as the format says.
    fn fits<T: Encode + ?Sized>(&self, format: &Format) -> bool {
        let fits = T::FRAMES.is_some() == format.frames().is_some();
        if !fits {
            self.refuse(Failure::Invalid(UNBOUND));
        }
        fits
    }

    fn id(&self, store: &str) -> Option<StoreId> {
        let id = self.state.names().id(store);
        if id.is_none() {
            self.fail(format!("store {store} is not among the partition's"));
        }
        id
    }

    fn fail(&self, what: impl Display) {
        self.refuse(Failure::Corrupt(what.to_string()));
    }

    fn refuse(&self, failure: Failure<Never>) {
        self.fault.borrow_mut().get_or_insert(failure);
    }

    pub(crate) fn saw(&self) -> Option<Sequence> {
        self.saw.get()
    }

    pub(crate) fn take_expired(&self) -> Vec<Expiring> {
        self.expired.take()
    }

    pub(crate) fn take_fault(&self) -> Option<Failure<Never>> {
        self.fault.take()
    }
}

/// Expired values met last that a further one is compared with: one that is noted twice is deleted twice, which does no harm.
const MET_COMPARED: usize = 8;

/// What a conditional write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The value has this version.
    Version(Version),
    /// There is no value.
    Absent,
}

/// The condition of a write did not hold; this is the version that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the value has changed")]
pub struct ConditionFailed(pub Option<Version>);

/// A partition's state for a command, which may change it.
pub struct Master<'a> {
    view: View<'a>,
    random: &'a mut Random,
    changes: Vec<Change>,
    events: Vec<(StoreId, Bytes, Bytes)>,
    emissions: Emissions,
    /// Sagas that have become stuck.
    stuck: u64,
}

/// A change that a handler made.
pub(crate) struct Change {
    pub(crate) store: StoreId,
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
    pub(crate) times: Times,
}

/// The times that come with a change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// When what it tells happened, if that is not the group's time.
    pub(crate) event_time: Option<EventTime>,
    /// From when on the value no longer counts.
    pub(crate) expires: Option<EventTime>,
}

impl Change {
    /// A change that comes with no times.
    pub(crate) fn new(store: StoreId, key: Bytes, value: Option<Bytes>) -> Change {
        Change { store, key, value, times: Times::default() }
    }

    /// The record that makes the change, with its value, and in the main store its key too; [`pending`](Change::pending) takes
    /// them back, so that nothing is copied.
    pub(crate) fn take_record(&mut self, names: &StoreNames) -> Record {
        let (kind, key) = if self.store == StoreId::MAIN {
            (RecordKind::Main, Key::new(std::mem::take(&mut self.key)))
        } else {
            names.key_of(self.store, &self.key)
        };
        let Times { event_time, expires } = self.times;
        Record { kind, event_time, expires, ..Record::new(key, self.value.take()) }
    }

    /// The change as it is pending, made from its record.
    pub(crate) fn pending(self, record: Record, version: Version) -> (StoreId, Bytes, PendingValue) {
        let key = if self.store == StoreId::MAIN { record.key.into_bytes() } else { self.key };
        (self.store, key, PendingValue { value: record.value, version, expires: record.expires })
    }
}

/// What a handler leaves behind.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<(StoreId, Bytes, Bytes)>,
    pub(crate) emissions: Emissions,
    /// The newest pending group that it has seen anything of.
    pub(crate) saw: Option<Sequence>,
    pub(crate) fault: Option<Failure<Never>>,
    /// What becomes of entries of indices with the changes, if the handler wants them.
    pub(crate) indexed: Vec<IndexChange>,
    /// Expired values that it has met.
    pub(crate) expired: Vec<Expiring>,
    /// Sagas that are stuck from now on.
    pub(crate) stuck: u64,
}

impl<'a> Master<'a> {
    pub(crate) fn new(view: View<'a>, random: &'a mut Random) -> Master<'a> {
        let (changes, events, emissions) = Default::default();
        Master { view, random, changes, events, emissions, stuck: 0 }
    }

    /// The partition's time, as [`View::now`].
    #[must_use]
    pub fn now(&self) -> EventTime {
        self.view.now()
    }

    /// A random number: the only chance a handler has.
    pub fn random(&mut self) -> u64 {
        self.random.next()
    }

    /// The value of a key, as this command has left it so far.
    pub fn get<K: Encode + ?Sized, V: Decode>(&self, store: &Store<K, V>, key: &K) -> Option<V> {
        match self.changed(store, key) {
            Some((change, place)) => {
                self.view.decode(store.name(), &place.format.value, change.value.as_ref()?)
            }
            None => self.view.get(store, key),
        }
    }

    /// The version that a key's value had when this command began.
    pub fn version<K: Encode + ?Sized, V>(&self, store: &Store<K, V>, key: &K) -> Option<Version> {
        self.view.version(store, key)
    }

    fn changed<K: Encode + ?Sized, V>(
        &self,
        store: &Store<K, V>,
        key: &K,
    ) -> Option<(&Change, StorePlace<'_>)> {
        if self.changes.is_empty() {
            return None;
        }
        let place = self.view.place(store)?;
        let key = place.format.key.to_bytes(key);
        let change = self.changes.iter().find(|change| change.store == place.id && change.key == key)?;
        Some((change, place))
    }

    /// Gives a key a new value, which expires if the store's values do: so long after [`now`](Master::now).
    pub fn put<K: Encode + ?Sized, V: Encode>(&mut self, store: &Store<K, V>, key: &K, value: &V) {
        let expires = store.time_to_live_ms().map(|ms| self.now().plus_ms(ms));
        self.put_with(store, key, value, Times { event_time: None, expires });
    }

    /// Gives a key a value that tells of `event_time`, which is kept with it in the changelog. If the store's values expire, this one does so
    /// long after that time; if it has expired by now, the key is deleted.
    pub fn put_at<K: Encode + ?Sized, V: Encode>(
        &mut self,
        store: &Store<K, V>,
        key: &K,
        value: &V,
        event_time: EventTime,
    ) {
        let expires = store.time_to_live_ms().map(|ms| event_time.plus_ms(ms));
        self.put_with(store, key, value, Times { event_time: Some(event_time), expires });
    }

    /// Gives a key a value that no longer counts from `expires` on, whatever the store says; if it has expired by now, the key is deleted.
    pub fn put_until<K: Encode + ?Sized, V: Encode>(
        &mut self,
        store: &Store<K, V>,
        key: &K,
        value: &V,
        expires: EventTime,
    ) {
        self.put_with(store, key, value, Times { event_time: None, expires: Some(expires) });
    }

    fn put_with<K: Encode + ?Sized, V: Encode>(
        &mut self,
        store: &Store<K, V>,
        key: &K,
        value: &V,
        times: Times,
    ) {
        let alive = times.expires.is_none_or(|expires| expires > self.now());
        let Some(StorePlace { id, format }) = self.view.place(store) else { return };
        if self.view.fits::<V>(&format.value) {
            let value = alive.then(|| format.value.to_bytes(value));
            self.change(id, format.key.to_bytes(key), value, times);
        }
    }

    /// Removes a key, which need not be there.
    pub fn delete<K: Encode + ?Sized, V>(&mut self, store: &Store<K, V>, key: &K) {
        if let Some(StorePlace { id, format }) = self.view.place(store) {
            self.change(id, format.key.to_bytes(key), None, Times::default());
        }
    }

    /// Gives a key a new value if the one that it had when this command began is as `condition` says.
    ///
    /// # Errors
    /// [`ConditionFailed`]; nothing was changed by this call.
    pub fn put_if<K: Encode + ?Sized, V: Encode>(
        &mut self,
        store: &Store<K, V>,
        key: &K,
        condition: Condition,
        value: &V,
    ) -> Result<(), ConditionFailed> {
        let version = self.version(store, key);
        let holds = match condition {
            Condition::Version(wanted) => version == Some(wanted),
            Condition::Absent => version.is_none(),
        };
        if !holds {
            return Err(ConditionFailed(version));
        }
        self.put(store, key, value);
        Ok(())
    }

    /// Sends an event to the watchers of a key, after this command's changes are acknowledged and in order with them.
    /// It is not stored: who does not watch then never sees it.
    pub fn send<K: Encode + ?Sized, V>(&mut self, store: &Store<K, V>, key: &K, event: &impl Encode) {
        if let Some(StorePlace { id, format }) = self.view.place(store) {
            self.events.push((id, format.key.to_bytes(key), event.to_bytes()));
        }
    }

    /// Sends a message to another key, of another keyspace perhaps, exactly once, after this command's changes are acknowledged.
    /// What the receiver answers is dropped; if it refuses, the message comes back to [`Partition::refused`](crate::Partition::refused).
    ///
    /// Effects to one partition come in the order in which they were emitted. The command is `Invalid` if there is no such keyspace,
    /// and `TooLarge` if the message does not leave room in a group for what comes with it on its way.
    pub fn emit<K: Encode + ?Sized, M: Encode>(&mut self, to: &Destination<K, M>, key: &K, message: &M) {
        self.emissions.emitted.push(Emitted::tell(to, key, message));
    }

    /// The same, and the answer comes to [`Partition::answered`](crate::Partition::answered); with answer or refusal comes `tag`.
    pub fn emit_asking<K: Encode + ?Sized, M: Encode>(
        &mut self,
        to: &Destination<K, M>,
        key: &K,
        message: &M,
        tag: &impl Encode,
    ) {
        let told = Emitted::tell(to, key, message);
        self.emissions.emitted.push(Emitted { kind: EffectKind::Ask, tag: tag.to_bytes(), ..told });
    }

    /// Sends a message as [`emit`](Master::emit) does, but not before `due` by the partition's time. Until then it can be
    /// cancelled, from any later command. If its keyspace is gone by then, it waits until that is there again.
    ///
    /// It has its place in the order when it is sent, not when it is emitted: behind what this partition has emitted to the receiver's
    /// before `due`. What is emitted from then on may come before it, and delayed effects come in any order among each other, also where
    /// their times differ. With a `due` that has come already it is sent at once, in order as by `emit`.
    pub fn emit_at<K: Encode + ?Sized, M: Encode>(
        &mut self,
        to: &Destination<K, M>,
        key: &K,
        message: &M,
        due: EventTime,
    ) -> DelayedEffect {
        let token = format!("{:016x}{:016x}", self.random(), self.random());
        let delayed = Some((due, token.clone()));
        self.emissions.emitted.push(Emitted { delayed, ..Emitted::tell(to, key, message) });
        DelayedEffect(token)
    }

    /// Cancels an effect whose time has not come; one that was sent already goes on.
    pub fn cancel(&mut self, effect: &DelayedEffect) {
        let before = self.emissions.emitted.len();
        let is_it = |emitted: &Emitted| emitted.delayed.as_ref().is_some_and(|(_, token)| *token == effect.0);
        self.emissions.emitted.retain(|emitted| !is_it(emitted));
        if self.emissions.emitted.len() == before {
            self.emissions.cancelled.push(effect.clone());
        }
    }

    /// Sends a step of a saga.
    pub(crate) fn emit_step(&mut self, step: Emitted) {
        self.emissions.emitted.push(step);
    }

    /// A saga is stuck.
    pub(crate) fn note_stuck(&mut self, store: &str, reason: &str) {
        tracing::error!(store, reason, "a saga is stuck");
        self.stuck += 1;
    }

    /// The command counts for nothing: it has met what cannot be.
    pub(crate) fn fail(&self, what: impl Display) {
        self.view.fail(what);
    }

    fn change(&mut self, store: StoreId, key: Bytes, value: Option<Bytes>, times: Times) {
        match self.changes.iter_mut().find(|change| change.store == store && change.key == key) {
            Some(change) => (change.value, change.times) = (value, times),
            None => self.changes.push(Change { store, key, value, times }),
        }
    }

    /// What is left of a run with this result, in a partition with these indices.
    pub(crate) fn finish<A, E>(
        self,
        result: &std::thread::Result<Result<A, E>>,
        indices: &[&'static dyn Indexed],
    ) -> Done {
        let mut indexed = Vec::new();
        if !indices.is_empty() && !self.changes.is_empty() && matches!(result, Ok(Ok(_))) {
            let unique: Vec<_> = indices.iter().filter(|i| i.is_unique()).map(|i| i.name()).collect();
            match self.indexed(&unique) {
                Ok(changes) => indexed = changes,
                Err(failure) => self.view.refuse(failure),
            }
        }
        let (saw, fault) = (self.view.saw(), self.view.take_fault());
        let expired = self.view.take_expired();
        let Master { changes, events, emissions, stuck, .. } = self;
        Done { changes, events, emissions, saw, fault, indexed, expired, stuck }
    }
}

/// A handler's changes as they are pending, made from their records, and those of entries of indices with them.
pub(crate) fn pending_changes(
    changes: Vec<Change>,
    records: Vec<Record>,
    indexed: Vec<IndexChange>,
    version: Version,
) -> Vec<(StoreId, Bytes, PendingValue)> {
    let changed = changes.into_iter().zip(records).map(|(change, record)| change.pending(record, version));
    changed.chain(indexed.into_iter().map(|change| pending_entry(change, version))).collect()
}

/// A change of an entry as it is pending.
pub(crate) fn pending_entry(change: IndexChange, version: Version) -> (StoreId, Bytes, PendingValue) {
    let IndexChange { index, entry, put } = change;
    let value = put.map(|_| Bytes::new());
    (index, entry, PendingValue { value, version, expires: put.flatten() })
}

/// What a handler's run counts for: nothing where something could not be read, or where it panicked.
pub(crate) fn judge<A, E>(
    result: std::thread::Result<Result<A, E>>,
    fault: Option<Failure<Never>>,
) -> Reply<A, E> {
    match (fault, result) {
        (Some(fault), _) => Err(fault.widen()),
        (None, Err(_)) => Err(Failure::Panicked),
        (None, Ok(result)) => result.map_err(Failure::Handler),
    }
}

/// The pending groups of an owner.
pub(crate) type Groups<A, E> = Pending<InFlight<A, E>>;
