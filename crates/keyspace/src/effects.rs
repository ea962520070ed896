//! Effects: messages between partitions that happen once, whatever fails.
//!
//! ```text
//!   sender                                                   receiver
//!   handler: changes + effect n ─▶ one group
//!   acknowledged ───────────── effect n ────────────────────▶ n is the next of this sender: handler
//!                                                             changes + "applied n" ─▶ one group
//!   cleared, some at once ◀─── done ──────────────────────── acknowledged
//! ```
//!
//! The sender tells again what it has no `done` for, after crashes and promotions too; the receiver applies the next number
//! only, and answers `done` to what it has applied. So an effect is applied exactly once, and those of a pair of partitions
//! in the order in which they were emitted. Effects to different partitions are not ordered among each other.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{PoisonError, RwLock};

use affinity_cluster::PartitionName;
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::effect::{Effect, EffectKind};
use affinity_types::format::Format;
use affinity_types::{EventTime, Key};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{Handle, Partition};

/// A keyspace that takes effects, with the types of its keys and of the messages it takes.
pub struct Destination<K: ?Sized, M> {
    keyspace: &'static str,
    types: PhantomData<fn(&K, M)>,
}

impl<K: ?Sized, M> Destination<K, M> {
    /// The keyspace `keyspace`.
    #[must_use]
    pub const fn new(keyspace: &'static str) -> Destination<K, M> {
        Destination { keyspace, types: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub const fn keyspace(&self) -> &'static str {
        self.keyspace
    }
}

/// Names an effect whose time has not come, so that it can be cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedEffect(pub(crate) String);

impl Encode for DelayedEffect {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for DelayedEffect {
    fn decode(bytes: &[u8]) -> Result<DelayedEffect, CodecError> {
        String::decode(bytes).map(DelayedEffect)
    }
}

/// A handler refuses an effect, for this reason. Any error of a handler becomes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl<E: std::error::Error> From<E> for Refused {
    fn from(error: E) -> Refused {
        Refused(error.to_string())
    }
}

/// An effect that has come, or what has become of one.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The partition it comes from.
    pub from: &'a PartitionName,
    pub(crate) effect: &'a Effect,
}

impl Incoming<'_> {
    /// The key that the message is or was for.
    ///
    /// # Errors
    /// If the bytes are not those of such a key.
    pub fn key<K: Decode>(&self) -> Result<K, CodecError> {
        K::decode_body(&self.effect.key, None)
    }

    /// The message; of an answer the answer, of a refusal the message that was refused.
    ///
    /// # Errors
    /// If the bytes are not those of such a message.
    pub fn message<M: Decode>(&self) -> Result<M, CodecError> {
        M::decode(&self.effect.message)
    }

    /// What the sender has given its message to find it again by: seen with answers and refusals.
    ///
    /// # Errors
    /// If the bytes are not those of such a tag.
    pub fn tag<T: Decode>(&self) -> Result<T, CodecError> {
        T::decode(&self.effect.tag)
    }

    /// Of a refusal, why the message was refused.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.effect.reason
    }
}

/// Where an emitted effect goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Keyspace(Cow<'static, str>),
    Partition(PartitionName),
}

/// An effect that a handler has emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Emitted {
    pub(crate) to: To,
    pub(crate) kind: EffectKind,
    pub(crate) key: Bytes,
    pub(crate) tag: Bytes,
    pub(crate) message: Bytes,
    /// Of a refusal, why.
    pub(crate) reason: String,
    /// The time before which it is not sent, and its name until then.
    pub(crate) delayed: Option<(EventTime, String)>,
}

impl Emitted {
    /// A message to a key.
    pub(crate) fn tell<K: Encode + ?Sized, M: Encode>(
        to: &Destination<K, M>,
        key: &K,
        message: &M,
    ) -> Emitted {
        Emitted {
            to: To::Keyspace(to.keyspace().into()),
            kind: EffectKind::Tell,
            key: key.to_body(),
            tag: Bytes::new(),
            message: message.to_bytes(),
            reason: String::new(),
            delayed: None,
        }
    }
}

/// What a handler's run has emitted and cancelled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Emissions {
    pub(crate) emitted: Vec<Emitted>,
    pub(crate) cancelled: Vec<DelayedEffect>,
}

impl Emissions {
    pub(crate) fn is_empty(&self) -> bool {
        self.emitted.is_empty() && self.cancelled.is_empty()
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It is applied and in the receiver's log.
    Done,
    /// It may not have been: deliver it again, and what follows it.
    Lost,
}

/// Tells the sender what became of a delivery; dropped, that it is lost.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) to: PartitionName,
    pub(crate) number: u64,
    pub(crate) mastership: u64,
    pub(crate) returns: mpsc::Sender<Returned>,
    pub(crate) outcome: Delivered,
}

/// What comes back of a delivery.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) to: PartitionName,
    pub(crate) number: u64,
    /// The sender's count of its masterships: what comes back from an earlier one says nothing.
    pub(crate) mastership: u64,
    pub(crate) outcome: Delivered,
}

impl Receipt {
    pub(crate) fn done(mut self) {
        self.outcome = Delivered::Done;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let (to, number, mastership, outcome) = (self.to.clone(), self.number, self.mastership, self.outcome);
        // There is room: no more are on the way.
        let _ = self.returns.try_send(Returned { to, number, mastership, outcome });
    }
}

/// An effect on its way to the owner of its receiver. Dropping it is safe: it is delivered again.
#[derive(Debug)]
pub struct Delivery {
    pub(crate) from: PartitionName,
    pub(crate) number: u64,
    pub(crate) effect: Effect,
    pub(crate) receipt: Receipt,
}

/// The ways to other partitions.
pub trait Links: Send + Sync + 'static {
    /// How many partitions a keyspace has; `None` if there is no such keyspace.
    fn partitions(&self, keyspace: &str) -> Option<u32>;

    /// How the keys of a keyspace's main store look: an effect brings the key without the head that its partition is told by.
    fn keys(&self, _keyspace: &str) -> Format {
        Format::Plain
    }

    /// Brings an effect to the owner of `to`, or drops it. Does not wait.
    fn deliver(&self, to: &PartitionName, delivery: Delivery);
}

/// The keyspaces of one process. An owner that is the only one there is has an empty one: nobody sends effects to it, and what
/// its handlers emit is `Invalid`.
///
/// It has handles of their owners, and owners have it: [`close`](Keyspaces::close) it when the handles are to be dropped.
#[derive(Default)]
pub struct Keyspaces {
    keyspaces: RwLock<BTreeMap<String, Vec<Box<dyn Deliver>>>>,
}

trait Deliver: Send + Sync {
    fn keys(&self) -> Format;

    fn deliver(&self, delivery: Delivery);
}

impl<P: Partition> Deliver for Handle<P> {
    fn keys(&self) -> Format {
        self.main_format().key.clone()
    }

    fn deliver(&self, delivery: Delivery) {
        Handle::deliver(self, delivery);
    }
}

impl Keyspaces {
    /// Adds a keyspace with the handles of all its partitions, in the order of their numbers.
    pub fn add<P: Partition>(&self, keyspace: &str, handles: impl IntoIterator<Item = Handle<P>>) {
        let handles = handles.into_iter().map(|handle| Box::new(handle) as Box<dyn Deliver>).collect();
        let mut keyspaces = self.keyspaces.write().unwrap_or_else(PoisonError::into_inner);
        keyspaces.insert(keyspace.to_owned(), handles);
    }

    /// Forgets all keyspaces.
    pub fn close(&self) {
        self.keyspaces.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Links for Keyspaces {
    fn partitions(&self, keyspace: &str) -> Option<u32> {
        let keyspaces = self.keyspaces.read().unwrap_or_else(PoisonError::into_inner);
        u32::try_from(keyspaces.get(keyspace)?.len()).ok()
    }

    fn keys(&self, keyspace: &str) -> Format {
        let keyspaces = self.keyspaces.read().unwrap_or_else(PoisonError::into_inner);
        let handle = keyspaces.get(keyspace).and_then(|handles| handles.first());
        handle.map_or(Format::Plain, |handle| handle.keys())
    }

    fn deliver(&self, to: &PartitionName, delivery: Delivery) {
        let keyspaces = self.keyspaces.read().unwrap_or_else(PoisonError::into_inner);
        let handle = keyspaces.get(&*to.keyspace).and_then(|handles| handles.get(to.partition.0 as usize));
        if let Some(handle) = handle {
            handle.deliver(delivery);
        }
    }
}

/// The partition of `keyspace` that an effect for `key` goes to.
pub(crate) fn receiver(links: &dyn Links, keyspace: &str, key: &Bytes) -> Option<PartitionName> {
    let partitions = links.partitions(keyspace).filter(|count| *count > 0)?;
    let key = match links.keys(keyspace) {
        Format::Plain => key.clone(),
        keys @ Format::Frames(_) => [&keys.head()[..], key].concat().into(),
    };
    Some(PartitionName::new(keyspace, Key::new(key).partition(partitions)))
}
