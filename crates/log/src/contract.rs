//! The contract of a changelog.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_types::{Epoch, EventTime, Group, Offset, Sequence};
use thiserror::Error;

use crate::{Batch, Bounds, Error, Topic, TopicPartition, TopicSpec};

/// A boxed future: what the rare calls of the contract return, so that it can be used behind `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A changelog: topics of partitions, each an ordered, durable sequence of groups.
///
/// ```text
///                 append(g7) append(g8) append(g9)          one writer a partition: the newest
///   owner ───────────────────────────────────────────▶ log
///         ◀─────────────────────────────────────────── acks, in the order of the appends
///           g7 @41..43   g8 @43..44   g9 refused
///
///   log    [ g1 | g2 | Barrier(2) | g4 | … | g8 ]           a group is there whole or not at all
///                      ▲                        ▲
///                      a reader: whole groups   end: all before it is durable
/// ```
///
/// # The law
/// 1. **Whole**: a group is appended whole or not at all; its records have consecutive offsets; no other group lies
///    between them.
/// 2. **Durable before told**: a group is acknowledged, counted in [`Bounds::end`] and given to readers only when it is
///    durable as the backend promises, and from then on it stays, but for what the topic's [`Cleanup`](crate::Cleanup)
///    may forget: of a compacted topic, records that a newer record of the same key follows, and deletions after their
///    time. Its newest group keeps its attributes even if its records are forgotten.
/// 3. **In order**: groups of one writer land in the order of their appends, each only if all before it have landed, and
///    [`Ack`]s arrive in that order.
/// 4. **One newest writer**: see [`Prepared`].
/// 5. **Never a guess**: see [`Outcome`].
pub trait Log: Send + Sync + 'static {
    /// Creates a topic, or finds it as it is asked for.
    ///
    /// # Errors
    /// `Invalid` for a name or number that is not possible, `Conflict` if it is there with another number of
    /// partitions or cleanup, `Unavailable`, `Unknown`.
    fn create_topic<'a>(&'a self, name: &'a str, spec: TopicSpec) -> BoxFuture<'a, Result<Topic, Error>>;

    /// Finds a topic.
    ///
    /// # Errors
    /// `Unavailable`.
    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Topic>, Error>>;

    /// Deletes a topic and all that is in it. Writers of it are fenced, readers get `NotFound`. The name is free
    /// again; a new topic of that name has another identity.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`, `Unknown`.
    fn delete_topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>>;

    /// The first and the next offset of a partition.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    fn bounds<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, Error>>;

    /// The offset of the first group whose time is `time` or later, if there is one.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`, `Corrupt` with the place of the damage.
    fn offset_at<'a>(
        &'a self,
        place: &'a TopicPartition,
        time: EventTime,
    ) -> BoxFuture<'a, Result<Option<Offset>, Error>>;

    /// First step of taking over a partition: see [`Prepared`].
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    fn prepare<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, Result<Box<dyn Prepared>, Error>>;

    /// Reads a partition from `from` on and follows it for ever. Groups come whole: the first is the one that contains
    /// `from`, from its first record on, or, where compaction has left nothing of that, the next one.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`, `OutOfRange` if `from` lies before the start or behind the end.
    fn tail<'a>(
        &'a self,
        place: &'a TopicPartition,
        from: Offset,
    ) -> BoxFuture<'a, Result<Box<dyn Tail>, Error>>;

    /// What the log takes.
    fn limits(&self) -> Limits;
}

/// The limits of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a group, as [`Group::payload_bytes`] counts them. A larger one is refused at once
    /// ([`AppendError::TooLarge`]).
    pub group_bytes_max: usize,
    /// Most groups of one writer that wait for their acknowledgement. At the limit [`Writer::append`] answers
    /// [`AppendError::Full`] and takes nothing.
    pub in_flight_max: usize,
}

/// A prepared take-over: the second step opens the writer under its epoch.
///
/// Taking over goes in this order (with another order two candidates can end with no master): read the
/// coordinator, [`prepare`](Log::prepare), win the epoch in the coordinator, `open`, append `Barrier(epoch)`, replay to
/// it, serve.
///
/// **What a log does about two writers** ("fencing"): preparations of a partition are ordered. A writer keeps its right to
/// append until a *later prepared* writer's first group is in the log; from then on every append of it is
/// [`Outcome::Fenced`] and nothing of it lands any more. Preparing or opening alone fences nobody. A log may also fence
/// a writer whose epoch is lower than one it has seen in the partition.
///
/// A log that cannot fence says so in its docs; there, a zombie's groups land with their lower epoch, readers tell them
/// by it, and owners find them by the [contiguity check](crate::Contiguity), which they do in any case.
pub trait Prepared: Send {
    /// Opens the writer. Its first group must be `Barrier(epoch)`: another one is [`AppendError::Invalid`].
    ///
    /// # Errors
    /// `Fenced` if it is known that a later writer has taken the partition, that it has seen `epoch` or a higher one, or
    /// that the topic is gone; `Unavailable`.
    fn open(self: Box<Self>, epoch: Epoch) -> BoxFuture<'static, Result<Box<dyn Writer>, Error>>;
}

/// The writer of one partition under one epoch. It belongs to the partition's owner alone.
///
/// Dropping it gives up the acknowledgements that are due, not the appends: they may still land.
pub trait Writer: Send {
    /// The epoch it writes under.
    fn epoch(&self) -> Epoch;

    /// Appends a group. Never waits: the group is on its way when this returns, and its [`Ack`] will come.
    ///
    /// # Errors
    /// Nothing of the group was taken: see [`AppendError`].
    fn append(&mut self, group: &Group) -> Result<(), AppendError>;

    /// Ready when [`append`](Writer::append) would not answer [`AppendError::Full`]. Groups in flight make room when
    /// their outcomes are *taken*: who waits for room without taking outcomes waits for ever. An error is the writer's
    /// end, as from `append`.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AppendError>>;

    /// The next outcome, in the order of the appends. Pending while nothing is in flight or decided. Cancel-safe.
    fn poll_ack(&mut self, cx: &mut Context<'_>) -> Poll<Ack>;

    /// Groups appended whose [`Ack`] has not been taken.
    fn in_flight(&self) -> usize;

    /// Whether this is the newest writer of the partition, if the log knows that at once and for sure. `Yes` proves
    /// that no later writer's barrier was in the log at some moment during the call, so an owner may release reads by
    /// it; where it is `Unknown`, reads need a lease or a barrier.
    fn newest(&self) -> Newest;
}

/// What a log knows of its newest writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newest {
    /// It is this one.
    Yes,
    /// It is another one.
    No,
    /// The log does not know at once.
    Unknown,
}

/// The outcome of one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Sequence of the group.
    pub sequence: Sequence,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log, durable, at the offsets `first` to before `next`.
    Appended {
        /// Offset of its first record.
        first: Offset,
        /// Offset behind its last record.
        next: Offset,
    },
    /// It is not in the log and never will be. So are all groups of this writer that were in flight then, and all that
    /// are appended before the last refusal was taken with [`Writer::poll_ack`], groups refused meanwhile included: what
    /// was decided after a refused group falls with it. Afterwards the writer goes on, under the same epoch; if
    /// nothing of it is in the log yet, it begins with its barrier again.
    Refused,
    /// It may be in the log, or land later; nobody knows. The writer is finished: all that is in flight is unknown, and
    /// `append` answers [`AppendError::Lost`]. Take over again and read.
    Unknown,
    /// A newer writer has the partition. This group was refused for it; but groups whose outcome was unknown to the
    /// backend at that moment come as `Unknown` before it. The writer is finished.
    Fenced,
}

/// Why a group was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// As many groups or bytes as the limits allow wait for their acknowledgement.
    #[error("the changelog has as many appends in flight as its limits allow")]
    Full,
    /// The group is larger than [`Limits::group_bytes_max`].
    #[error("a group of {bytes} bytes: the changelog takes {max} at most")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The group is not what the contract asks for; the text says why.
    #[error("{0}")]
    Invalid(&'static str),
    /// The writer is finished: fenced, or after an unknown outcome.
    #[error("the writer has lost its partition")]
    Lost,
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Error {
        let kind = match error {
            AppendError::Full => crate::ErrorKind::Unavailable,
            AppendError::TooLarge { .. } | AppendError::Invalid(_) => crate::ErrorKind::Invalid,
            AppendError::Lost => crate::ErrorKind::Fenced,
        };
        Error::new(kind, error)
    }
}

/// A reader that follows one partition. It gives whole groups only, and each only when it is durable.
pub trait Tail: Send {
    /// The next groups, at least one. Pending at the log's end, woken when there is more; nobody polls. Cancel-safe.
    ///
    /// # Errors
    /// `Corrupt` with the place of the damage, again at every call: a reader never skips it. `OutOfRange` if retention
    /// has overtaken it, `NotFound` if the topic is gone, `Unavailable` if it may work later.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Batch, Error>>;
}

/// Waits for a writer's next outcome.
pub async fn next_ack<W: Writer + ?Sized>(writer: &mut W) -> Ack {
    std::future::poll_fn(|cx| writer.poll_ack(cx)).await
}

/// Waits until a writer can take a group.
///
/// # Errors
/// As [`Writer::poll_ready`].
pub async fn ready<W: Writer + ?Sized>(writer: &mut W) -> Result<(), AppendError> {
    std::future::poll_fn(|cx| writer.poll_ready(cx)).await
}

/// Waits for a reader's next groups.
///
/// # Errors
/// As [`Tail::poll_batch`].
pub async fn next_batch<T: Tail + ?Sized>(tail: &mut T) -> Result<Batch, Error> {
    std::future::poll_fn(|cx| tail.poll_batch(cx)).await
}

/// Milliseconds of a duration, for comparing with [`EventTime`].
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
