//! What an owner is sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use affinity_memstore::StoreId;
use affinity_state::{IndexWatch, Update, Watch};
use affinity_types::RequestId;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::effects::Delivery;
use crate::failure::Never;
use crate::scan::{ChunkReply, Continuation, ScanAsk};
use crate::{Failure, Partition, Reply};

/// A watch that has begun: the value at a version, and the updates after it.
#[derive(Debug)]
pub struct Watched {
    /// The value now.
    pub current: Update,
    /// What comes after it.
    pub watch: Watch,
}

/// A watch of an index key that has begun: who has it, and the updates after that.
#[derive(Debug)]
pub struct IndexWatched {
    /// The keys that have it now, in their order; those of expired values do not count.
    pub keys: Vec<Bytes>,
    /// Who enters and who leaves. One may leave that has expired before.
    pub watch: IndexWatch,
}

/// What a watcher asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The store.
    pub store: StoreId,
    /// The key in it.
    pub key: Bytes,
}

/// Where an answer goes.
pub(crate) type ReplyTo<P> = oneshot::Sender<Reply<<P as Partition>::Answer, <P as Partition>::Error>>;

/// Who waits for an answer: mostly one, and those who asked again under its request id.
pub(crate) struct Waiting<A, E> {
    first: Option<oneshot::Sender<Reply<A, E>>>,
    more: Vec<oneshot::Sender<Reply<A, E>>>,
}

impl<A, E> From<Option<oneshot::Sender<Reply<A, E>>>> for Waiting<A, E> {
    fn from(first: Option<oneshot::Sender<Reply<A, E>>>) -> Waiting<A, E> {
        Waiting { first, more: Vec::new() }
    }
}

impl<A, E> Waiting<A, E> {
    pub(crate) fn push(&mut self, reply: oneshot::Sender<Reply<A, E>>) {
        self.more.push(reply);
    }

    /// Takes those who wait.
    pub(crate) fn take(&mut self) -> Waiting<A, E> {
        Waiting { first: self.first.take(), more: std::mem::take(&mut self.more) }
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// How many asked again.
    pub(crate) fn retries(&self) -> usize {
        self.more.len()
    }

    /// Gives all the answer, the last one without a copy.
    pub(crate) fn answer(self, answer: A)
    where
        A: Clone,
    {
        for reply in self.more {
            // A panic of the application's code is this asker's alone: it happened, and cannot be told.
            let copy = catch_unwind(AssertUnwindSafe(|| answer.clone()));
            let _ = reply.send(copy.map_err(|_| Failure::Unknown));
        }
        if let Some(reply) = self.first {
            let _ = reply.send(Ok(answer));
        }
    }

    /// Tells all what went wrong.
    pub(crate) fn fail(self, failure: &Failure<Never>) {
        for reply in self.first.into_iter().chain(self.more) {
            let _ = reply.send(Err(failure.clone().widen()));
        }
    }
}

/// A message on its way to an owner.
pub(crate) enum Message<P: Partition> {
    Command {
        command: P::Command,
        request: Option<RequestId>,
        /// By the owner's elapsed time.
        deadline: Option<Duration>,
        reply: Option<ReplyTo<P>>,
    },
    Query {
        query: P::Query,
        deadline: Option<Duration>,
        reply: ReplyTo<P>,
    },
    Watch {
        subscription: Subscription,
        reply: oneshot::Sender<Reply<Watched, P::Error>>,
    },
    WatchIndex {
        index: &'static str,
        /// What the entries of the index key begin with.
        prefix: Bytes,
        reply: oneshot::Sender<Reply<IndexWatched, P::Error>>,
    },
    /// The next chunk of a scan.
    Scan {
        ask: ScanAsk,
        deadline: Option<Duration>,
        reply: ChunkReply<P>,
    },
    /// Nobody goes on with a scan.
    EndScan {
        continuation: Continuation,
    },
    Effect(Delivery),
}

impl<P: Partition> Message<P> {
    /// How many turns of the owner it counts for: a chunk is as much work as many other messages.
    pub(crate) fn turns(&self) -> usize {
        match self {
            Message::Scan { .. } => 32,
            _ => 1,
        }
    }
}
