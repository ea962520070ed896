//! Handlers without a node: one partition in memory, which runs them through the contexts that an owner gives them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use affinity_cluster::PartitionName;
use affinity_memstore::{Limits, MemoryStore, StoreId};
use affinity_state::indices::ValueChange;
use affinity_state::{
    IndexChange, KeepRequests, Own, Pending, PendingValue, RequestSettings, State, StoreNames,
};
use affinity_types::codec::{Decode, Encode};
use affinity_types::effect::{Effect, EffectKind};
use affinity_types::format::{Format, Frames, StoreFormat, StoreTypes};
use affinity_types::{Epoch, EventTime, PartitionId, Sequence, TopicId, Version};
use bytes::Bytes;

use crate::context::{Change, Done, Scratch, Times, judge, pending_entry};
use crate::effects::{Emitted, To};
use crate::index::definitions;
use crate::partition::store_types;
use crate::random::Random;
use crate::saga::{self, Pass};
use crate::{Destination, Failure, Incoming, Master, Partition, Refused, Reply, Store, View};

/// A partition in memory, for the tests of its handlers.
///
/// What a command changes is there for the next one, as if the log had acknowledged it; a command that fails or panics
/// changes nothing. Time stands still until it is set, and chance begins at a seed: equal steps give equal outcomes. There is
/// no log, so nothing is refused for its size, and there are no request ids.
///
/// ```
/// use affinity_keyspace::{Changed, Harness, Master, Partition, Store, View};
///
/// const COUNTS: Store<str, i64> = Store::new("counts");
///
/// struct Counter;
///
/// impl Partition for Counter {
///     const STORES: &'static [&'static str] = &["counts"];
///     type Command = String;
///     type Query = String;
///     type Answer = i64;
///     type Error = std::convert::Infallible;
///
///     fn command(&self, cx: &mut Master<'_>, name: &String) -> Result<i64, Self::Error> {
///         let count = cx.get(&COUNTS, name.as_str()).unwrap_or(0) + 1;
///         cx.put(&COUNTS, name.as_str(), &count);
///         Ok(count)
///     }
///
///     fn query(&self, cx: &View<'_>, name: &String) -> Result<i64, Self::Error> {
///         Ok(cx.get(&COUNTS, name.as_str()).unwrap_or(0))
///     }
/// }
///
/// let mut harness = Harness::new(Counter, 1);
/// harness.given(&COUNTS, "ada", &41);
/// let outcome = harness.command("ada".to_string());
/// assert_eq!(outcome.answer, Ok(42));
/// assert_eq!(outcome.changes, [Changed::put(&COUNTS, "ada", &42)]);
/// assert_eq!(harness.query("ada".to_string()), Ok(42));
/// ```
pub struct Harness<P: Partition> {
    partition: P,
    state: State,
    random: Random,
    now: EventTime,
    /// The last group that changed anything.
    sequence: Sequence,
    /// Nothing is ever pending.
    pending: Pending<()>,
    scratch: Scratch,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<A, E> {
    /// Its answer.
    pub answer: Reply<A, E>,
    /// What it changed, each key once, in the order in which it first changed them; nothing if it failed.
    pub changes: Vec<Changed>,
    /// What it sent to watchers, in order; nothing if it failed.
    pub events: Vec<Sent>,
    /// What it emitted to other keys, in order; nothing if it failed. What it cancels goes with nothing here.
    pub effects: Vec<Emission>,
}

/// A message that was emitted to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    /// Name of the keyspace it goes to.
    pub keyspace: String,
    /// The key's bytes.
    pub key: Bytes,
    /// The message's bytes.
    pub message: Bytes,
    /// What comes back with its answer: the handler's tag, or which step of a saga it is.
    pub tag: Bytes,
    /// Whether an answer is to come back.
    pub asks: bool,
    /// Not before this time.
    pub due: Option<EventTime>,
    kind: EffectKind,
}

impl Emission {
    /// A message that is sent at once and wants no answer.
    pub fn new<K: Encode + ?Sized, M: Encode>(to: &Destination<K, M>, key: &K, message: &M) -> Emission {
        Emission::of(Emitted::tell(to, key, message))
    }

    fn of(emitted: Emitted) -> Emission {
        let Emitted { to, kind, key, tag, message, delayed, .. } = emitted;
        let keyspace = match to {
            To::Keyspace(name) => name.into_owned(),
            To::Partition(name) => name.keyspace.to_string(),
        };
        let due = delayed.map(|(due, _)| due);
        let asks = matches!(kind, EffectKind::Ask | EffectKind::Step);
        Emission { keyspace, key, message, tag, asks, due, kind }
    }
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Name of the store.
    pub store: &'static str,
    /// The key's bytes.
    pub key: Bytes,
    /// The new value's bytes; `None` if the key was removed.
    pub value: Option<Bytes>,
    /// From when on the value no longer counts; of a value that had expired when it was put, and is a removal so, the same.
    pub expires: Option<EventTime>,
}

impl Changed {
    /// A new value of a key.
    pub fn put<K: Encode + ?Sized, V: Encode>(store: &Store<K, V>, key: &K, value: &V) -> Changed {
        Changed { store: store.name(), key: key.to_bytes(), value: Some(value.to_bytes()), expires: None }
    }

    /// The removal of a key.
    pub fn delete<K: Encode + ?Sized, V>(store: &Store<K, V>, key: &K) -> Changed {
        Changed { store: store.name(), key: key.to_bytes(), value: None, expires: None }
    }

    /// The same change, of a value that expires.
    #[must_use]
    pub fn expiring(self, at: EventTime) -> Changed {
        Changed { expires: Some(at), ..self }
    }
}

/// An event that was sent to the watchers of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Name of the store.
    pub store: &'static str,
    /// The key's bytes.
    pub key: Bytes,
    /// The event's bytes.
    pub event: Bytes,
}

impl Sent {
    /// An event to the watchers of a key.
    pub fn new<K: Encode + ?Sized, V>(store: &Store<K, V>, key: &K, event: &impl Encode) -> Sent {
        Sent { store: store.name(), key: key.to_bytes(), event: event.to_bytes() }
    }
}

impl<P: Partition> Harness<P> {
    /// An empty partition at time 0 whose chance begins at `seed`. Stores of records have made-up ids.
    ///
    /// # Panics
    /// If the partition has no store, or more than can be told apart.
    #[must_use]
    pub fn new(partition: P, seed: u64) -> Harness<P> {
        Harness::with_formats(partition, seed, &formats(&store_types::<P>()))
    }

    /// The same, whose stores of records have these formats: those of an earlier version of a record perhaps, with what has been learned of
    /// it.
    ///
    /// # Panics
    /// As [`new`](Harness::new).
    #[must_use]
    pub fn with_formats(partition: P, seed: u64, formats: &[(&str, StoreFormat)]) -> Harness<P> {
        let names = StoreNames::new(P::STORES, 0).with_formats(formats);
        let memstore = Box::new(MemoryStore::new(Limits::default()));
        let settings = RequestSettings::default();
        let definitions = definitions(P::INDICES, &names);
        let state = State::open(memstore, names, TopicId(0), settings, KeepRequests::InWindow);
        let mut state = state.expect("a new store in memory can be read");
        if P::LISTENS {
            state.listen();
        }
        state.define_indices(definitions).expect("a new store in memory can be read");
        Harness {
            partition,
            state,
            random: Random::new(seed),
            now: EventTime(0),
            sequence: Sequence::FIRST,
            pending: Pending::default(),
            scratch: Scratch::default(),
        }
    }

    /// The partition's time: the later of the one that was set and that of the last change.
    #[must_use]
    pub fn now(&self) -> EventTime {
        self.now.max(self.state.time())
    }

    /// Sets the clock, and deletes what has expired by then. Back behind a change, it is that change's time that counts, as it is in an
    /// owner.
    ///
    /// # Panics
    /// If the store in memory does not take the deletions.
    pub fn set_now(&mut self, now: EventTime) {
        self.now = now;
        loop {
            let due = self.state.due(self.now(), EXPIRED_MAX).expect("a store in memory can be read");
            if due.is_empty() {
                break;
            }
            let times = |expires| Times { event_time: None, expires: Some(expires) };
            let deletions = due.into_iter().map(|due| Change {
                store: due.store,
                key: due.key,
                value: None,
                times: times(due.expires),
            });
            let deletions: Vec<_> = deletions.collect();
            let indexed = deletions.iter().flat_map(|change| self.indexed(change)).collect();
            let failed = self.apply(deletions, indexed);
            assert!(failed.is_none(), "what has expired was not deleted: {failed:?}");
        }
    }

    /// Gives a key a value, before or between commands.
    ///
    /// # Panics
    /// If the store is not among the partition's, or the store in memory or an index does not take the value.
    pub fn given<K: Encode + ?Sized, V: Encode>(&mut self, store: &Store<K, V>, key: &K, value: &V) {
        let id = self.state.names().id(store.name());
        let id = id.unwrap_or_else(|| panic!("store {} is not among the partition's", store.name()));
        let expires = store.time_to_live_ms().map(|ms| self.now().plus_ms(ms));
        let times = Times { event_time: None, expires };
        let format = self.state.names().format(id);
        let (key, value) = (format.key.to_bytes(key), Some(format.value.to_bytes(value)));
        let change = Change { store: id, key, value, times };
        let indexed = self.indexed(&change);
        let failed = self.apply(vec![change], indexed);
        assert!(failed.is_none(), "the value of store {} was not taken: {failed:?}", store.name());
    }

    /// Runs a command, and applies what it changes. What it emits goes nowhere.
    pub fn command(&mut self, command: P::Command) -> Outcome<P::Answer, P::Error> {
        self.run(|partition, cx| partition.command(cx, &command))
    }

    /// Lets an effect of another partition come, once, and applies what it changes. The destination gives the types; it is
    /// this partition that takes it.
    pub fn effect<K: Encode + ?Sized, M: Encode>(
        &mut self,
        _to: &Destination<K, M>,
        key: &K,
        message: &M,
    ) -> Outcome<Bytes, Refused> {
        let effect = coming(EffectKind::Ask, key.to_body(), message.to_bytes());
        let from = PartitionName::new("harness", PartitionId(0));
        self.run(|partition, cx| partition.effect(cx, &Incoming { from: &from, effect: &effect }))
    }

    /// Lets the answer to an effect come that asks for one, and a saga go on.
    pub fn answer(&mut self, emission: &Emission, answer: &impl Encode) -> Outcome<(), Refused> {
        let kind = match emission.kind {
            EffectKind::Step => EffectKind::StepAnswer,
            _ => EffectKind::Answer,
        };
        self.come_back(emission, coming(kind, emission.key.clone(), answer.to_bytes()))
    }

    /// Lets an effect come back that its receiver has refused.
    pub fn refuse(&mut self, emission: &Emission, reason: &str) -> Outcome<(), Refused> {
        let kind = match emission.kind {
            EffectKind::Step => EffectKind::StepRefusal,
            _ => EffectKind::Refusal,
        };
        let effect = coming(kind, emission.key.clone(), emission.message.clone());
        self.come_back(emission, Effect { reason: reason.to_owned(), ..effect })
    }

    fn come_back(&mut self, emission: &Emission, effect: Effect) -> Outcome<(), Refused> {
        let effect = Effect { tag: emission.tag.clone(), ..effect };
        let from = PartitionName::new(emission.keyspace.as_str(), PartitionId(0));
        let incoming = Incoming { from: &from, effect: &effect };
        self.run(|partition, cx| match effect.kind {
            EffectKind::Answer => partition.answered(cx, &incoming),
            EffectKind::Refusal => partition.refused(cx, &incoming),
            _ => saga::tell::<P>(cx, &effect, Pass::Run),
        })
    }

    fn run<A, E>(&mut self, handle: impl FnOnce(&P, &mut Master<'_>) -> Result<A, E>) -> Outcome<A, E> {
        let mut random = self.random.clone();
        let mut cx =
            Master::new(View::new(&self.state, &self.pending, self.now(), &self.scratch), &mut random);
        let result = catch_unwind(AssertUnwindSafe(|| handle(&self.partition, &mut cx)));
        let Done { changes, events, emissions, fault, indexed, .. } = cx.finish(&result, P::INDICES);
        self.random = random;
        let failed = |failure| Outcome {
            answer: Err(failure),
            changes: Vec::new(),
            events: Vec::new(),
            effects: Vec::new(),
        };
        let answer = match judge(result, fault) {
            Ok(answer) => answer,
            Err(failure) => return failed(failure),
        };
        let changed = |change: &Change| {
            let Change { store, key, value, times } = change;
            Changed {
                store: name::<P>(*store),
                key: key.clone(),
                value: value.clone(),
                expires: times.expires,
            }
        };
        let told = changes.iter().map(changed).collect();
        if let Some(what) = self.apply(changes, indexed) {
            return failed(Failure::Corrupt(what));
        }
        let sent = |(store, key, event)| Sent { store: name::<P>(store), key, event };
        Outcome {
            answer: Ok(answer),
            changes: told,
            events: events.into_iter().map(sent).collect(),
            effects: emissions.emitted.into_iter().map(Emission::of).collect(),
        }
    }

    /// What becomes of entries of indices with a change that no handler made.
    fn indexed(&self, Change { store, key, value, times }: &Change) -> Vec<IndexChange> {
        let old = self.state.get(*store, key).expect("a store in memory can be read");
        let old = old.as_ref().map(|value| (value.bytes(), value.expires()));
        let new = value.as_ref().map(|value| (&value[..], times.expires));
        let key_max = self.state.memstore().limits().key_max_bytes;
        let indexed = self.state.indices().changes(&ValueChange { store: *store, key, old, new }, key_max);
        indexed.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Runs a query.
    ///
    /// # Errors
    /// The handler's, or the system's.
    pub fn query(&self, query: P::Query) -> Reply<P::Answer, P::Error> {
        let view = self.view();
        let result = catch_unwind(AssertUnwindSafe(|| self.partition.query(&view, &query)));
        judge(result, view.take_fault())
    }

    /// The value of a key.
    ///
    /// # Panics
    /// If the store is not among the partition's, or its bytes are not those of such a value.
    pub fn get<K: Encode + ?Sized, V: Decode>(&self, store: &Store<K, V>, key: &K) -> Option<V> {
        self.look(|view| view.get(store, key))
    }

    /// A change as an outcome shows it: a new value of a key, or its removal. Of stores of records [`Changed::put`] does not know the ids.
    ///
    /// # Panics
    /// If the store is not among the partition's.
    pub fn changed<K: Encode + ?Sized, V: Encode>(
        &self,
        store: &Store<K, V>,
        key: &K,
        value: Option<&V>,
    ) -> Changed {
        let id = self.state.names().id(store.name());
        let id = id.unwrap_or_else(|| panic!("store {} is not among the partition's", store.name()));
        let format = self.state.names().format(id);
        let value = value.map(|value| format.value.to_bytes(value));
        Changed { store: store.name(), key: format.key.to_bytes(key), value, expires: None }
    }

    /// The version of a key's value, as handlers see it: it grows with every change.
    ///
    /// # Panics
    /// If the store is not among the partition's.
    pub fn version<K: Encode + ?Sized, V>(&self, store: &Store<K, V>, key: &K) -> Option<Version> {
        self.look(|view| view.version(store, key))
    }

    fn view(&self) -> View<'_> {
        View::new(&self.state, &self.pending, self.now(), &self.scratch)
    }

    fn look<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        let view = self.view();
        let found = look(&view);
        if let Some(fault) = view.take_fault() {
            panic!("{fault}");
        }
        found
    }

    /// Applies changes as one acknowledged group; says why if that is not possible, and nothing is changed then.
    fn apply(&mut self, changes: Vec<Change>, indexed: Vec<IndexChange>) -> Option<String> {
        if changes.is_empty() {
            return None;
        }
        let version = Version::new(Epoch(1), self.sequence.next());
        let pending = |Change { store, key, value, times }| {
            (store, key, PendingValue { value, version, expires: times.expires })
        };
        let entries = indexed.into_iter().map(|change| pending_entry(change, version));
        let changes: Vec<_> = changes.into_iter().map(pending).chain(entries).collect();
        let (first, time) = (self.state.next(), self.now());
        let next = first.advance(changes.len() as u64);
        let own = Own { first, next, version, time, changes: &changes, repairs: &[], request: None };
        if let Err(error) = self.state.apply_own(&[own]) {
            return Some(error.to_string());
        }
        self.sequence = version.sequence;
        let heard = self.state.take_heard();
        crate::listen::tell(&self.partition, self.state.names(), &heard, true);
        None
    }
}

/// An effect that comes to a partition.
fn coming(kind: EffectKind, key: Bytes, message: Bytes) -> Effect {
    let (to, reason) = (String::new(), String::new());
    Effect { kind, to, key, tag: Bytes::new(), message, reason, due: EventTime(0) }
}

/// Formats with ids from 1, in the order of the stores: a key's, a value's.
fn formats(stores: &[StoreTypes]) -> Vec<(&'static str, StoreFormat)> {
    let mut ids = 1..;
    let mut formats = Vec::new();
    for StoreTypes { name, key, value } in stores {
        let mut id = || ids.next().unwrap_or(u32::MAX);
        let key = key.map_or(Format::Plain, |_| Format::Frames(Frames::fixed(id())));
        let value =
            value.map_or(Format::Plain, |frames| Format::Frames(Frames::new(id(), (frames.readers)())));
        formats.push((*name, StoreFormat { key, value }));
    }
    formats
}

/// Values deleted in one group, at most.
const EXPIRED_MAX: usize = 1024;

/// The name of a store that a context gave this number.
fn name<P: Partition>(store: StoreId) -> &'static str {
    P::STORES[usize::from(store.0)]
}
