//! The router: from a key to the partition that holds it, and to that partition's owner.
//!
//! ```text
//!   key ─▶ murmur2(encoded key) % n ─▶ queue of the partition ─▶ owner
//!                                      full: Overloaded, at once
//! ```
//!
//! Nothing waits here without a deadline: one that the caller gives, or [`RouterSettings::deadline_ms`].

mod backoff;
mod call;
mod scan;
mod scatter;
mod settings;
mod timer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use affinity_types::codec::Encode;
use affinity_types::{Clock, Key, PartitionId, RequestId};
use tokio::sync::oneshot;

pub use call::{CommandCall, QueryCall, ScatterCall, TakeAnswer};
pub use scan::KeyspaceScan;
pub use settings::RouterSettings;
pub use timer::{Sleep, Timer};

use self::backoff::Backoff;
use crate::{Failure, Handle, Index, IndexWatched, Partition, Reply, Store, Watched};

/// What a router is made of, beside the handles.
pub struct RouterParts {
    /// The clocks. Their elapsed time must be that of the owners.
    pub clock: Arc<dyn Clock>,
    /// Waits for a moment of that elapsed time.
    pub timer: Arc<dyn Timer>,
    /// Who asks: a random number, new for every start of the process, since request numbers begin again with it.
    pub client: u128,
    /// Where the chance in the waits between tries begins.
    pub seed: u64,
    /// Limits and times.
    pub settings: RouterSettings,
}

/// Reaches the partitions of a keyspace by key. Cheap to clone; clones draw request ids from one source.
pub struct Router<P: Partition> {
    shared: Arc<Shared<P>>,
}

struct Shared<P: Partition> {
    handles: Vec<Handle<P>>,
    /// How many handles there are.
    partitions: u32,
    parts: RouterParts,
    /// Number of the next request.
    sequence: AtomicU64,
}

impl<P: Partition> Clone for Router<P> {
    fn clone(&self) -> Router<P> {
        Router { shared: Arc::clone(&self.shared) }
    }
}

/// Why no answer came to a message that was sent.
enum Unanswered {
    /// Its deadline has passed.
    Late,
    /// Nobody can answer any more: its owner has ended.
    Gone,
}

impl<P: Partition> Router<P> {
    /// A router over the handles of all partitions of a keyspace, in the order of their numbers.
    ///
    /// # Panics
    /// If there is none, or more than partitions can be numbered.
    #[must_use]
    pub fn new(handles: Vec<Handle<P>>, parts: RouterParts) -> Router<P> {
        assert!(!handles.is_empty(), "a keyspace has at least one partition");
        let partitions = u32::try_from(handles.len()).expect("partitions are numbered in 32 bits");
        let sequence = AtomicU64::new(0);
        Router { shared: Arc::new(Shared { handles, partitions, parts, sequence }) }
    }

    /// The partition that holds a key, as Kafka's default partitioner picks it.
    pub fn partition<K: Encode + ?Sized>(&self, key: &K) -> PartitionId {
        // There is one at least, and all have the same stores.
        let keys = &self.shared.handles[0].main_format().key;
        Key::new(keys.to_bytes(key)).partition(self.shared.partitions)
    }

    /// The id of a new request, issued now.
    #[must_use]
    pub fn next_request(&self) -> RequestId {
        let sequence = self.shared.sequence.fetch_add(1, Ordering::Relaxed);
        let RouterParts { client, clock, .. } = &self.shared.parts;
        RequestId { client: *client, sequence, issued: Some(clock.now()) }
    }

    /// Sends a command and waits for nothing: what becomes of it is not told.
    ///
    /// # Errors
    /// `Overloaded` or `Unavailable`: it was not sent.
    pub fn tell<K: Encode + ?Sized>(&self, key: &K, command: P::Command) -> Result<(), Failure<P::Error>> {
        self.owner(key).command(command, None, None, None)
    }

    /// Sends a command and waits for its answer, at most for `within`. It is not tried again.
    ///
    /// # Errors
    /// The handler's, or the system's. `DeadlinePassed` only if the command surely was not run and never will be; `Unknown`
    /// if no answer came in time.
    pub async fn ask<K: Encode + ?Sized>(
        &self,
        key: &K,
        command: P::Command,
        within: Option<Duration>,
    ) -> Reply<P::Answer, P::Error> {
        self.try_once(self.owner(key), command, None, self.deadline(within)).await
    }

    /// Sends a command under a new request id, again and again until it has an answer: it is applied once, however often it
    /// is sent.
    ///
    /// # Errors
    /// As [`ask_as`](Router::ask_as).
    pub async fn ask_with_retry<K: Encode + ?Sized>(
        &self,
        key: &K,
        command: P::Command,
        within: Option<Duration>,
    ) -> Reply<P::Answer, P::Error>
    where
        P::Command: Clone,
    {
        self.ask_as(self.next_request(), key, command, within).await
    }

    /// Sends a command under this request id, again and again until it has an answer. Between tries it waits, longer and
    /// longer: see [`RouterSettings`]. `within` should be shorter than requests are remembered.
    ///
    /// # Errors
    /// What tells for sure that it was not applied (the handler's own error, `Conflict` and the like) comes at once, and so does
    /// `RequestExpired`, as `Unknown` if the outcome of an earlier try was unknown. `Unavailable`, `Overloaded` and `Unknown` are tried again until there is no time for another try; then
    /// `Unknown` if the outcome of any try was unknown, else the last failure.
    pub async fn ask_as<K: Encode + ?Sized>(
        &self,
        request: RequestId,
        key: &K,
        command: P::Command,
        within: Option<Duration>,
    ) -> Reply<P::Answer, P::Error>
    where
        P::Command: Clone,
    {
        self.retry(self.owner(key), request, command, within).await
    }

    async fn retry(
        &self,
        owner: &Handle<P>,
        request: RequestId,
        command: P::Command,
        within: Option<Duration>,
    ) -> Reply<P::Answer, P::Error>
    where
        P::Command: Clone,
    {
        let RouterParts { clock, timer, seed, settings, .. } = &self.shared.parts;
        let deadline = self.deadline(within);
        let mut backoff = Backoff::new(settings, *seed, &request);
        let mut unknown = false;
        loop {
            let failure = match self.try_once(owner, command.clone(), Some(request), deadline).await {
                Ok(answer) => return Ok(answer),
                // Of an earlier try nothing is known by that.
                Err(Failure::DeadlinePassed | Failure::RequestExpired) if unknown => {
                    return Err(Failure::Unknown);
                }
                Err(failure) => failure,
            };
            unknown |= matches!(failure, Failure::Unknown);
            if !may_pass(&failure) {
                return Err(failure);
            }
            let at = clock.elapsed().saturating_add(backoff.wait());
            if at >= deadline {
                return Err(if unknown { Failure::Unknown } else { failure });
            }
            timer.sleep_until(at).await;
        }
    }

    /// Sends a query and waits for its answer, at most for `within`.
    ///
    /// # Errors
    /// The handler's, or the system's. `DeadlinePassed` if no answer came in time.
    pub async fn query<K: Encode + ?Sized>(
        &self,
        key: &K,
        query: P::Query,
        within: Option<Duration>,
    ) -> Reply<P::Answer, P::Error> {
        self.query_owner(self.owner(key), query, within).await
    }

    async fn query_owner(
        &self,
        owner: &Handle<P>,
        query: P::Query,
        within: Option<Duration>,
    ) -> Reply<P::Answer, P::Error> {
        let deadline = self.deadline(within);
        let answer = self.send_query(owner, query, deadline)?;
        self.await_read(answer, deadline).await
    }

    /// Watches a key of a store in the partition that holds this key: its value now and every change after it. `within`
    /// limits the wait for the value, not the watch.
    ///
    /// # Errors
    /// As [`watch_in`](Router::watch_in).
    pub async fn watch<K: Encode + ?Sized, V>(
        &self,
        store: &Store<K, V>,
        key: &K,
        within: Option<Duration>,
    ) -> Reply<Watched, P::Error> {
        self.watch_in(self.partition(key), store, key, within).await
    }

    /// Watches a key of a store in a given partition: a further store may hold keys that belong to a key of another name,
    /// and live where that one lives.
    ///
    /// # Errors
    /// `Invalid` for a store or a partition that is not there, `DeadlinePassed` if no value came in time, or the system's.
    pub async fn watch_in<K: Encode + ?Sized, V>(
        &self,
        partition: PartitionId,
        store: &Store<K, V>,
        key: &K,
        within: Option<Duration>,
    ) -> Reply<Watched, P::Error> {
        let owner = self.owner_of(partition)?;
        self.begin_within(owner.watch(store.name(), owner.key_of(store, key)), within).await
    }

    /// Watches an index key in a given partition: who has it there now, and who enters and leaves after that. An index is a
    /// partition's own, so who wants to know of all partitions watches it in each.
    ///
    /// # Errors
    /// As [`Handle::watch_index`], `Invalid` for a partition that is not there, `DeadlinePassed` if the beginning did not come in
    /// time.
    pub async fn watch_index_in<K: ?Sized, V, I: Encode>(
        &self,
        partition: PartitionId,
        index: &Index<K, V, I>,
        key: &I,
        within: Option<Duration>,
    ) -> Reply<IndexWatched, P::Error> {
        let owner = self.owner_of(partition)?;
        self.begin_within(owner.watch_index(index, key), within).await
    }

    /// Waits for the beginning of a watch.
    async fn begin_within<T>(
        &self,
        begin: impl Future<Output = Reply<T, P::Error>>,
        within: Option<Duration>,
    ) -> Reply<T, P::Error> {
        let deadline = self.deadline(within);
        if self.passed(deadline) {
            return Err(Failure::DeadlinePassed);
        }
        tokio::select! {
            biased;
            begun = begin => begun,
            () = self.shared.parts.timer.sleep_until(deadline) => Err(Failure::DeadlinePassed),
        }
    }

    fn owner_of(&self, partition: PartitionId) -> Result<&Handle<P>, Failure<P::Error>> {
        let owner = usize::try_from(partition.0).ok().and_then(|at| self.shared.handles.get(at));
        owner.ok_or(Failure::Invalid("the keyspace has no such partition"))
    }

    fn owner<K: Encode + ?Sized>(&self, key: &K) -> &Handle<P> {
        // A partitioner's number is below the number of handles.
        &self.shared.handles[self.partition(key).0 as usize]
    }

    fn deadline(&self, within: Option<Duration>) -> Duration {
        let RouterParts { clock, settings, .. } = &self.shared.parts;
        clock.elapsed().saturating_add(within.unwrap_or(Duration::from_millis(settings.deadline_ms)))
    }

    fn passed(&self, deadline: Duration) -> bool {
        self.shared.parts.clock.elapsed() >= deadline
    }

    async fn try_once(
        &self,
        owner: &Handle<P>,
        command: P::Command,
        request: Option<RequestId>,
        deadline: Duration,
    ) -> Reply<P::Answer, P::Error> {
        if self.passed(deadline) {
            return Err(Failure::DeadlinePassed);
        }
        let (reply, answer) = oneshot::channel();
        owner.command(command, request, Some(deadline), Some(reply))?;
        self.await_answer(answer, deadline).await.unwrap_or(Err(Failure::Unknown))
    }

    fn send_query(
        &self,
        owner: &Handle<P>,
        query: P::Query,
        deadline: Duration,
    ) -> Result<Answer<P>, Failure<P::Error>> {
        if self.passed(deadline) {
            return Err(Failure::DeadlinePassed);
        }
        let (reply, answer) = oneshot::channel();
        owner.query(query, Some(deadline), reply)?;
        Ok(answer)
    }

    async fn await_read(&self, answer: Answer<P>, deadline: Duration) -> Reply<P::Answer, P::Error> {
        self.await_answer(answer, deadline).await.unwrap_or_else(|unanswered| {
            Err(match unanswered {
                Unanswered::Late => Failure::DeadlinePassed,
                Unanswered::Gone => Failure::Unavailable,
            })
        })
    }

    /// Waits until the deadline; an answer that is there by then counts.
    async fn await_answer(
        &self,
        answer: Answer<P>,
        deadline: Duration,
    ) -> Result<Reply<P::Answer, P::Error>, Unanswered> {
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| Unanswered::Gone),
            () = self.shared.parts.timer.sleep_until(deadline) => Err(Unanswered::Late),
        }
    }
}

/// Where an answer comes.
type Answer<P> = oneshot::Receiver<Reply<<P as Partition>::Answer, <P as Partition>::Error>>;

/// Whether the same message may do better a little later.
fn may_pass<E>(failure: &Failure<E>) -> bool {
    matches!(failure, Failure::Unavailable | Failure::Overloaded | Failure::Unknown)
}
