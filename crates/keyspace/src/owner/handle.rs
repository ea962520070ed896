//! Reaching an owner.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_memstore::StoreId;
use affinity_state::StoreNames;
use affinity_state::indices::entry_prefix;
use affinity_types::codec::Encode;
use affinity_types::format::StoreFormat;
use affinity_types::{Epoch, Offset, RequestId};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::Owner;
use super::outbox::ON_THE_WAY_MAX;
use crate::effects::Delivery;
use crate::message::{Message, ReplyTo};
use crate::phase::{Event, Phase};
use crate::{Failure, Index, IndexWatched, OwnerSettings, Partition, Reply, Store, Subscription, Watched};

/// An order from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Take the partition over.
    Promote,
    /// Be a standby.
    Demote,
}

/// What an owner shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The phase, by name.
    pub phase: &'static str,
    /// The epoch it serves under, if it serves.
    pub serving: Option<Epoch>,
    /// The next offset to apply.
    pub next: Offset,
    /// Messages that wait.
    pub queued: usize,
    /// Groups in flight.
    pub pending: usize,
    /// Reads that wait for their release.
    pub held_reads: usize,
    /// Why it has stopped.
    pub broken: Option<String>,
}

#[derive(Default)]
pub(super) struct Shared {
    serving: AtomicU64,
    next: AtomicU64,
    pending: AtomicUsize,
    held_reads: AtomicUsize,
    phase: Mutex<(&'static str, Option<String>)>,
}

/// Where the beginning of a watch comes.
pub type WatchReceiver<P> = oneshot::Receiver<Reply<Watched, <P as Partition>::Error>>;

/// Where the beginning of a watch of an index key comes.
pub type IndexWatchReceiver<P> = oneshot::Receiver<Reply<IndexWatched, <P as Partition>::Error>>;

/// Reaches the owner of a partition. Cheap to clone.
pub struct Handle<P: Partition> {
    send: mpsc::Sender<Message<P>>,
    /// Places in the queue that are kept for effects.
    kept: usize,
    orders: mpsc::Sender<Control>,
    shared: Arc<Shared>,
    names: StoreNames,
}

/// Where messages wait for the owner, with so many places that are kept for effects.
pub(super) type Queue<P> = (mpsc::Sender<Message<P>>, usize);

/// A queue as the settings say, and its other end.
pub(super) fn queue<P: Partition>(settings: &OwnerSettings) -> (Queue<P>, mpsc::Receiver<Message<P>>) {
    let kept = settings.effect_window.min(ON_THE_WAY_MAX);
    let (send, mailbox) = mpsc::channel(settings.queue_max.saturating_add(kept));
    ((send, kept), mailbox)
}

impl<P: Partition> Clone for Handle<P> {
    fn clone(&self) -> Handle<P> {
        Handle {
            send: self.send.clone(),
            kept: self.kept,
            orders: self.orders.clone(),
            shared: Arc::clone(&self.shared),
            names: self.names.clone(),
        }
    }
}

impl<P: Partition> Handle<P> {
    pub(super) fn new(
        (send, kept): Queue<P>,
        orders: mpsc::Sender<Control>,
        shared: Arc<Shared>,
        names: StoreNames,
    ) -> Handle<P> {
        Handle { send, kept, orders, shared, names }
    }

    /// How the keys and values of a store look.
    pub(crate) fn format(&self, store: &str) -> &StoreFormat {
        // Whoever asks for a store that is not there is told so elsewhere.
        self.names.format(self.names.id(store).unwrap_or(StoreId::LAST))
    }

    /// How those of the main store look.
    pub(crate) fn main_format(&self) -> &StoreFormat {
        self.names.format(StoreId::MAIN)
    }

    /// The bytes of a key of a store: what [`watch`](Handle::watch) takes.
    #[must_use]
    pub fn key_of<K: Encode + ?Sized, V>(&self, store: &Store<K, V>, key: &K) -> Bytes {
        self.format(store.name()).key.to_bytes(key)
    }

    /// Gives an order. It is dropped if four wait already. One to take over that comes while the owner does so already counts for
    /// that: who loses an election has to be asked again.
    pub fn order(&self, control: Control) {
        let _ = self.orders.try_send(control);
    }

    /// Sends a command and lets its answer come to `reply`, if anybody waits for one.
    ///
    /// # Errors
    /// `Overloaded` if the queue is full, `Unavailable` if the owner is gone: nothing was sent.
    pub fn command(
        &self,
        command: P::Command,
        request: Option<RequestId>,
        deadline: Option<Duration>,
        reply: Option<ReplyTo<P>>,
    ) -> Result<(), Failure<P::Error>> {
        self.submit(Message::Command { command, request, deadline, reply })
    }

    /// Sends a query and lets its answer come to `reply`.
    ///
    /// # Errors
    /// As [`command`](Handle::command).
    pub fn query(
        &self,
        query: P::Query,
        deadline: Option<Duration>,
        reply: ReplyTo<P>,
    ) -> Result<(), Failure<P::Error>> {
        self.submit(Message::Query { query, deadline, reply })
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// The handler's, or the system's.
    pub async fn ask(&self, command: P::Command) -> Reply<P::Answer, P::Error> {
        let (reply, answer) = oneshot::channel();
        self.command(command, None, None, Some(reply))?;
        answer.await.unwrap_or(Err(Failure::Unknown))
    }

    /// Sends a query and waits for its answer.
    ///
    /// # Errors
    /// The handler's, or the system's.
    pub async fn read(&self, query: P::Query) -> Reply<P::Answer, P::Error> {
        let (reply, answer) = oneshot::channel();
        self.query(query, None, reply)?;
        answer.await.unwrap_or(Err(Failure::Unavailable))
    }

    /// Watches a key of a store: its value now and every change after it.
    ///
    /// # Errors
    /// `Invalid` for a store that is not there, or the system's.
    pub async fn watch(&self, store: &str, key: Bytes) -> Reply<Watched, P::Error> {
        self.begin_watch(store, key)?.await.unwrap_or(Err(Failure::Unavailable))
    }

    /// Asks for a watch, whose beginning comes through the channel.
    ///
    /// # Errors
    /// As [`watch`](Handle::watch): nothing was sent.
    pub fn begin_watch(&self, store: &str, key: Bytes) -> Result<WatchReceiver<P>, Failure<P::Error>> {
        let Some(store) = self.names.id(store) else {
            return Err(Failure::Invalid("the keyspace has no such store"));
        };
        let (reply, watched) = oneshot::channel();
        self.submit(Message::Watch { subscription: Subscription { store, key }, reply })?;
        Ok(watched)
    }

    /// Watches an index key: who has it now, and who enters and leaves after that, none left out and never before it is
    /// acknowledged. A watcher that is more than [`INDEX_UPDATES_MAX`](affinity_state::INDEX_UPDATES_MAX) updates behind is told
    /// that it has missed some, and watches again.
    ///
    /// # Errors
    /// `Invalid` for an index that is not there or an index key that too many have, `IndexBuilding`, or the system's.
    pub async fn watch_index<K: ?Sized, V, I: Encode>(
        &self,
        index: &Index<K, V, I>,
        key: &I,
    ) -> Reply<IndexWatched, P::Error> {
        self.begin_watch_index(index, key)?.await.unwrap_or(Err(Failure::Unavailable))
    }

    /// Asks for a watch of an index key, whose beginning comes through the channel.
    ///
    /// # Errors
    /// As [`watch_index`](Handle::watch_index): nothing was sent.
    pub fn begin_watch_index<K: ?Sized, V, I: Encode>(
        &self,
        index: &Index<K, V, I>,
        key: &I,
    ) -> Result<IndexWatchReceiver<P>, Failure<P::Error>> {
        let (reply, watched) = oneshot::channel();
        let (index, prefix) = (index.name(), entry_prefix(&key.to_bytes()).into());
        self.submit(Message::WatchIndex { index, prefix, reply })?;
        Ok(watched)
    }

    /// Brings an effect; what cannot be taken now is delivered again.
    pub fn deliver(&self, delivery: Delivery) {
        let _ = self.submit(Message::Effect(delivery));
    }

    /// The number of a store.
    pub(crate) fn store(&self, name: &str) -> Option<StoreId> {
        self.names.id(name)
    }

    pub(crate) fn submit(&self, message: Message<P>) -> Result<(), Failure<P::Error>> {
        // However many ask, effects still come. Who asks at the very same time may take a place of theirs; not all can.
        let is_effect = matches!(message, Message::Effect(_));
        if !is_effect && self.send.capacity() <= self.kept && !self.send.is_closed() {
            return Err(Failure::Overloaded);
        }
        self.send.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Failure::Unavailable,
        })
    }

    /// What the owner shows of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let Shared { serving, next, pending, held_reads, phase } = &*self.shared;
        let (phase, broken) = phase.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let serving = serving.load(Ordering::Relaxed);
        Status {
            phase,
            serving: (serving > 0).then_some(Epoch(serving)),
            next: Offset(next.load(Ordering::Relaxed)),
            queued: self.send.max_capacity() - self.send.capacity(),
            pending: pending.load(Ordering::Relaxed),
            held_reads: held_reads.load(Ordering::Relaxed),
            broken,
        }
    }
}

impl<P: Partition> Owner<P> {
    pub(super) fn poll_orders(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(Some(order)) = self.orders.poll_recv(cx) else { return false };
        if self.broken.is_none() {
            self.happen(match order {
                Control::Promote => Event::Promote,
                Control::Demote => Event::Demote,
            });
        }
        true
    }

    pub(super) fn note_status(&mut self) {
        self.metrics.queue.set(count(self.mailbox.len()));
        self.metrics.pending.set(count(self.pending.in_flight()));
        self.metrics.unindexed.absolute(self.state.indices().skipped());
        self.metrics.held_reads.set(count(self.reads.len()));
        let Shared { serving, next, pending, held_reads, phase } = &*self.status;
        serving.store(self.epoch().map_or(0, |epoch| epoch.0), Ordering::Relaxed);
        next.store(self.state.next().0, Ordering::Relaxed);
        pending.store(self.pending.in_flight(), Ordering::Relaxed);
        held_reads.store(self.reads.len(), Ordering::Relaxed);
        let showing = (self.phase.name(), self.epoch(), self.broken.is_some());
        if self.shown != showing {
            self.shown = showing;
            // A gauge is a float: epochs are small enough.
            let epoch = self.epoch().map_or(0, |epoch| u32::try_from(epoch.0).unwrap_or(u32::MAX));
            self.metrics.serving.set(f64::from(epoch));
            *phase.lock().unwrap_or_else(PoisonError::into_inner) = (showing.0, self.broken.clone());
        }
    }
}

impl<P: Partition> Message<P> {
    pub(super) fn fail(self, failure: Failure<P::Error>) {
        match self {
            Message::Command { reply, .. } => {
                if let Some(reply) = reply {
                    let _ = reply.send(Err(failure));
                }
            }
            Message::Query { reply, .. } => drop(reply.send(Err(failure))),
            Message::Watch { reply, .. } => drop(reply.send(Err(failure))),
            Message::WatchIndex { reply, .. } => drop(reply.send(Err(failure))),
            Message::Scan { reply, .. } => drop(reply.send(Err(failure))),
            Message::EndScan { .. } => {}
            // It is delivered again.
            Message::Effect(_) => {}
        }
    }
}

impl Phase {
    /// The epoch it serves under, if it serves.
    pub(super) fn serving(&self) -> Option<Epoch> {
        match self {
            Phase::Serving(epoch) => Some(*epoch),
            _ => None,
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Phase::Standby => "standby",
            Phase::Reading => "reading",
            Phase::Preparing(_) => "preparing",
            Phase::Measuring(_) => "measuring",
            Phase::CatchingUp(..) => "catching up",
            Phase::Electing(..) => "electing",
            Phase::Opening(_) => "opening",
            Phase::Barring(_) => "barring",
            Phase::Replaying(..) => "replaying",
            Phase::Serving(_) => "serving",
            Phase::Checking(_) | Phase::Insisting(_) => "checking",
        }
    }
}

/// A gauge is a float: what is counted here has a limit far below where that matters.
fn count(number: usize) -> f64 {
    u32::try_from(number).unwrap_or(u32::MAX).into()
}
