//! What an owner is sent.

use std::time::Duration;

use affinity_memstore::StoreId;
use affinity_state::{Update, Watch};
use affinity_types::RequestId;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{Partition, Reply};

/// A watch that has begun: the value at a version, and the updates after it.
#[derive(Debug)]
pub struct Watched {
    /// The value now.
    pub current: Update,
    /// What comes after it.
    pub watch: Watch,
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
}
