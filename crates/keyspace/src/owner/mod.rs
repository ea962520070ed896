//! The owner of a partition: one task, one loop.
//!
//! [`Owner::poll`] takes what has come (orders, answers of coordinator and log, groups to read, outcomes of appends, messages), as far as
//! it has, and never waits. A runtime drives it with [`Owner::run`]; a simulation polls it by hand.
//!
//! ```text
//!  message ─▶ handler ─▶ group ─▶ append ┄┄┄▶ outcome ─▶ watchers ─▶ reply ┄┄▶ memstore     (in the order of the log)
//!     └─ read, nothing changed: held until what it saw is acknowledged and the lease, or a later append, proves that nobody
//!        else leads
//! ```

mod acks;
mod admit;
mod effects;
mod expiry;
mod follow;
mod formats;
mod handle;
mod index;
mod metrics;
mod outbox;
mod reads;
mod scans;
mod takeover;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_cluster::{Cas, Coordinator, NodeId, PartitionName, Seen};
use affinity_log::{Ack, Log, Prepared, Tail, TopicPartition, Writer};
use affinity_memstore::{At, Expiring, MemStore, Scan, StoreId};
use affinity_state::{KeepRequests, PendingGroup, Place, State, StoreNames, Watches};
use affinity_types::format::StoreFormat;
use affinity_types::{Clock, Epoch, EventTime, Offset, Request, Sequence, TopicId, Version};
use bytes::Bytes;
use hashbrown::HashMap;
use tokio::sync::mpsc;

pub use handle::{Control, Handle, IndexWatchReceiver, Status, WatchReceiver};

use self::outbox::Outbox;
use self::reads::HeldRead;
use crate::context::{Groups, Scratch};
use crate::effects::{Links, Receipt};
use crate::index::definitions;
use crate::message::{Message, Waiting};
use crate::phase::{Event, Phase};
use crate::random::Random;
use crate::{OwnerSettings, Partition};

/// A protection of the owner, by name, so that its proof can take one away and must then fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "mutants"),
    expect(unreachable_pub, dead_code, reason = "only with the feature can one be taken away")
)]
pub enum Protection {
    /// A gap between acknowledgements is read.
    Contiguity,
    /// Groups of an epoch that is over are ignored.
    EpochFilter,
    /// A key that a stale record hit is written again.
    Repair,
    /// Reads are released only while the lease holds, or after a later append.
    Lease,
    /// A successor holds reads and replies until earlier leases have run out.
    Gate,
    /// A read is released only when what it saw is acknowledged.
    ReadRelease,
    /// Indices change in the same batch as the values.
    IndexInBatch,
    /// Request ids are looked up.
    RequestWindow,
    /// A write is answered only after its acknowledgement.
    ReplyAfterAck,
    /// Reading the log to its end, and to one's barrier, comes before serving.
    TakeOverOrder,
    /// The number of the last effect applied is a record of its own, and not in a header of the group that applied it.
    AppliedRecord,
    /// An effect is cleared only when its receiver has it.
    ClearAfterDone,
    /// All chunks of a scan are read from one snapshot.
    ScanSnapshot,
    /// Whoever met an expired value is answered when its delete is acknowledged, and not by the clock alone.
    ExpiryByDelete,
}

/// Batches of the log applied before the owner lets other tasks run: with fewer, replaying many partitions at once costs
/// more, since each needs the caches for itself.
const BATCHES_MAX: usize = 16;

/// What an owner is made of.
pub struct Parts {
    /// The partition's changelog.
    pub place: TopicPartition,
    /// Identity of the changelog's topic.
    pub topic: TopicId,
    /// The partition's name at the coordinator.
    pub name: PartitionName,
    /// This node.
    pub node: NodeId,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The coordinator.
    pub coordinator: Arc<dyn Coordinator>,
    /// The store, as it was found: the owner reads on where it stands.
    pub memstore: Box<dyn MemStore>,
    /// Whether request ids are kept in the store too.
    pub keep_requests: KeepRequests,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The ways to other partitions, for effects.
    pub links: Arc<dyn Links>,
    /// Ids of the changelog's schemas.
    pub schemas: Schemas,
    /// Where chance begins: another one for each owner of each start, since attempts at an election are told apart by it.
    pub seed: u64,
    /// Limits and times.
    pub settings: OwnerSettings,
}

/// Ids of the schemas of the system's records in a changelog, which never change there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schemas {
    /// Of the keys of the system's records, and of its numbers.
    pub control: u32,
    /// Of the keys of stores other than the main store.
    pub store_key: u32,
    /// Of effects.
    pub effect: u32,
}

/// Store, key, version and value.
pub type Entry = (StoreId, Bytes, Version, Bytes);

/// A group whose outcome is not known yet.
type Sent<P> = PendingGroup<InFlight<<P as Partition>::Answer, <P as Partition>::Error>>;
/// An answer, and who waits for it.
type LateReply<P> = (Waiting<<P as Partition>::Answer, <P as Partition>::Error>, <P as Partition>::Answer);

/// Replies that are held back, and how many wait for them.
struct Gated<P: Partition> {
    replies: VecDeque<LateReply<P>>,
    count: usize,
}

/// What an owner keeps with a group in flight.
pub(crate) struct InFlight<A, E> {
    time: EventTime,
    /// When it was sent, by the owner's elapsed time.
    sent: Duration,
    request: Option<Request>,
    events: Vec<(StoreId, Bytes, Bytes)>,
    /// Keys that the group repairs.
    repairs: Vec<Place>,
    answer: Option<A>,
    waiting: Waiting<A, E>,
    /// It was read from the log, in a gap, before its outcome came.
    read: bool,
    /// Effects that it applies.
    receipts: Vec<Receipt>,
    /// Effects that it clears.
    cleared: Vec<(PartitionName, u64)>,
    /// Effects whose time had come.
    delayed: Vec<(String, EventTime)>,
    /// Once it has landed: the offset of its first record, and the one behind its last.
    offsets: Option<(Offset, Offset)>,
}

impl<A, E> InFlight<A, E> {
    /// A group that nobody asked for.
    fn own(time: EventTime, sent: Duration) -> InFlight<A, E> {
        InFlight {
            time,
            sent,
            request: None,
            events: Vec::new(),
            repairs: Vec::new(),
            answer: None,
            waiting: None.into(),
            read: false,
            receipts: Vec::new(),
            cleared: Vec::new(),
            delayed: Vec::new(),
            offsets: None,
        }
    }
}

/// A call under way, of which there is one at most, and when it counts as failed.
struct UnderWay {
    call: Call,
    until: Duration,
}

enum Call {
    Read(Future<Seen, affinity_cluster::Error>),
    Elect(Future<Cas, affinity_cluster::Error>),
    Prepare(Future<Box<dyn Prepared>, affinity_log::Error>),
    Measure(Future<Offset, affinity_log::Error>),
    Open(Future<Box<dyn Writer>, affinity_log::Error>),
    Tail(Future<Box<dyn Tail>, affinity_log::Error>),
}

type Future<T, E> = affinity_log::BoxFuture<'static, Result<T, E>>;

/// What of the log an owner holds.
enum Held {
    Nothing,
    Prepared(Box<dyn Prepared>),
    Writer(Box<dyn Writer>),
}

/// Owns a partition: takes what has come, never waits, and is driven by [`poll`](Owner::poll) or [`run`](Owner::run).
pub struct Owner<P: Partition> {
    partition: P,
    place: TopicPartition,
    name: PartitionName,
    node: NodeId,
    log: Arc<dyn Log>,
    coordinator: Arc<dyn Coordinator>,
    clock: Arc<dyn Clock>,
    schemas: Schemas,
    settings: OwnerSettings,
    random: Random,
    orders: mpsc::Receiver<Control>,
    mailbox: mpsc::Receiver<Message<P>>,
    status: Arc<handle::Shared>,
    metrics: metrics::Metrics,

    phase: Phase,
    /// The phase was told something: what that began has to be polled.
    stirred: bool,
    /// Phase, epoch and whether it is broken, as the handles show them.
    shown: (&'static str, Option<Epoch>, bool),
    /// The clock's time when the owner was polled last: one for all messages of a turn.
    tick: Option<EventTime>,
    /// And the elapsed time: what is sent in a turn was sent no earlier.
    polled_at: Option<Duration>,
    scratch: Scratch,
    held: Held,
    call: Option<UnderWay>,
    /// When to tell the phase to try again.
    retry_at: Option<Duration>,
    /// When to append something of one's own again: the log has refused the last.
    own_at: Option<Duration>,
    /// When to try to read the log again.
    tail_at: Option<Duration>,
    /// Reads the log, while not serving or while there is a gap to read.
    tail: Option<Box<dyn Tail>>,
    /// Where the tail has to come before acknowledgements go on.
    gap: Option<Offset>,
    /// The first valid barrier of the highest epoch.
    barrier: Option<(Epoch, Offset)>,
    /// Epochs that this owner had: their leases are its own.
    own_epochs: BTreeSet<Epoch>,

    state: State,
    pending: Groups<P::Answer, P::Error>,
    /// Requests in flight, by id: the hash of what they ask, and their group.
    asked: HashMap<(u128, u64), (u64, Sequence)>,
    /// Groups whose outcome the log will tell.
    undecided: BTreeMap<Version, Sent<P>>,
    watches: Watches,
    scans: scans::Scans,
    /// An acknowledgement that waits until the gap before it is read.
    kept_ack: Option<Ack>,
    /// The last group sent, the last one acknowledged, and when that was sent.
    sent: Sequence,
    acked: Option<Sequence>,
    anchor: Option<Duration>,
    last_sent_at: Duration,
    /// The latest time of a group sent.
    sent_time: EventTime,
    /// When the log last said that nobody else leads.
    newest_at: Duration,
    /// A group was refused and not all refusals are taken.
    refusing: bool,
    /// Stale keys whose repair is under way.
    repairing: BTreeSet<Place>,
    expiry: expiry::Expiry,
    reads: VecDeque<HeldRead<P>>,
    /// Reads have come since the last append.
    read_since: bool,
    /// How many asked again for what is in flight.
    retries: usize,
    /// Replies to writes that earlier leases hold back.
    gated: Gated<P>,
    gate: Option<Duration>,
    outbox: Outbox,
    inbox: effects::Inbox,
    /// A message that waits for room in the log.
    waiting: Option<Message<P>>,
    /// Why the owner has stopped: what is stored or written cannot be read.
    broken: Option<String>,
}

impl<P: Partition> Owner<P> {
    /// An owner, a standby at first, and the handle that reaches it. Its stores have no record frames.
    ///
    /// # Errors
    /// If what the store holds cannot be read.
    pub fn new(partition: P, parts: Parts) -> affinity_state::Result<(Owner<P>, Handle<P>)> {
        Owner::with_formats(partition, parts, &[])
    }

    /// The same, of a partition with [`RECORDS`](Partition::RECORDS): the formats of their stores, by name, all partitions of the keyspace
    /// have the same ones.
    ///
    /// # Errors
    /// As [`new`](Owner::new).
    pub fn with_formats(
        partition: P,
        parts: Parts,
        formats: &[(&str, StoreFormat)],
    ) -> affinity_state::Result<(Owner<P>, Handle<P>)> {
        let Parts { place, topic, name, node, log, coordinator, memstore, keep_requests, .. } = parts;
        let Parts { clock, schemas, links, seed, settings, .. } = parts;
        let settings = settings.bounded();
        let names = StoreNames::new(P::STORES, schemas.store_key).with_formats(formats);
        let mut state = State::open(memstore, names, topic, settings.requests.clone(), keep_requests)?;
        Self::prepare(&mut state, &settings)?;
        state.assume_leases(settings.lease_ms, clock.elapsed());
        let (send_order, orders) = mpsc::channel(4);
        let (send, mailbox) = handle::queue(&settings);
        let status = Arc::new(handle::Shared::default());
        let handle = Handle::new(send, send_order, Arc::clone(&status), state.names().clone());
        let metrics = metrics::Metrics::new(&name);
        let outbox = Outbox::new(name.clone(), links, settings.effect_window);
        let owner = Owner {
            partition,
            place,
            name,
            node,
            log,
            coordinator,
            schemas,
            random: Random::new(seed),
            orders,
            mailbox,
            status,
            metrics,
            phase: Phase::Standby,
            stirred: false,
            shown: ("", None, false),
            tick: None,
            polled_at: None,
            scratch: Scratch::default(),
            held: Held::Nothing,
            call: None,
            retry_at: None,
            own_at: None,
            tail_at: None,
            tail: None,
            gap: None,
            barrier: None,
            own_epochs: BTreeSet::new(),
            state,
            pending: Groups::default(),
            asked: HashMap::new(),
            undecided: BTreeMap::new(),
            watches: Watches::new(settings.watches.clone()),
            scans: scans::Scans::new(),
            kept_ack: None,
            sent: Sequence::FIRST,
            acked: None,
            anchor: None,
            last_sent_at: clock.elapsed(),
            sent_time: EventTime(i64::MIN),
            newest_at: clock.elapsed(),
            refusing: false,
            repairing: BTreeSet::new(),
            expiry: expiry::Expiry::default(),
            reads: VecDeque::new(),
            read_since: false,
            retries: 0,
            gated: Gated { replies: VecDeque::new(), count: 0 },
            gate: None,
            outbox,
            inbox: effects::Inbox::default(),
            waiting: None,
            broken: None,
            clock,
            settings,
        };
        Ok((owner, handle))
    }

    /// Tells the state what the partition wants of it.
    #[cfg_attr(not(feature = "mutants"), expect(unused_variables, reason = "only mutants are set"))]
    fn prepare(state: &mut State, settings: &OwnerSettings) -> affinity_state::Result<()> {
        state.define_indices(definitions(P::INDICES, state.names()))?;
        if P::LISTENS {
            state.listen();
        }
        #[cfg(feature = "mutants")]
        if settings.removed == Some(Protection::EpochFilter) {
            state.without_epoch_filter();
        }
        Ok(())
    }

    /// Does what there is to do; ready when every [`Handle`] is gone and nothing is under way.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.build_indices(cx);
        let mut turns = self.settings.turn_max;
        let mut batches = BATCHES_MAX;
        let before = (self.sent, self.acked);
        (self.tick, self.polled_at) = (None, None);
        loop {
            let mut moved = self.poll_orders(cx);
            moved |= self.poll_call(cx);
            moved |= self.poll_retry();
            self.close_aged_scans();
            if self.poll_tail(cx) {
                moved = true;
                batches -= 1;
            }
            moved |= self.poll_acks(cx);
            // An order given before a message counts before it.
            moved |= self.poll_orders(cx);
            moved |= self.poll_mailbox(cx, &mut turns);
            moved |= self.keep_up();
            moved |= self.poll_effects(cx);
            moved |= self.release();
            moved |= std::mem::take(&mut self.stirred);
            if turns == 0 || batches == 0 {
                break;
            }
            if !moved {
                let over = self.mailbox.is_closed() && self.mailbox.is_empty() && self.orders.is_closed();
                // Those who were answered run first, and what they ask comes before the memstore is written.
                let worked = before != (self.sent, self.acked);
                if worked && !over && self.pending.landed().len() > 0 {
                    break;
                }
                self.settle();
                self.note_status();
                return if over && self.is_at_rest() { Poll::Ready(()) } else { Poll::Pending };
            }
        }
        self.note_status();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// When [`poll`](Owner::poll) has to be called again though nothing has come, by the clock's elapsed time.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        let gate = self.gate.filter(|_| self.holds_back() || !self.reads.is_empty());
        let own_at = self.own_at.filter(|_| self.keeps_up());
        // A master that nobody asks anything looks now and then whether it still is one.
        let every = Duration::from_millis(self.settings.idle_noop_ms);
        let idle = (self.keeps_up() && self.pending.in_flight() == 0).then(|| {
            if self.idles() {
                own_at.max(Some(self.last_sent_at + every))
            } else {
                Some(self.newest_at + every)
            }
        });
        let tail_at = self.tail_at.filter(|_| self.lacks_tail());
        let call_until = self.call.as_ref().map(|call| call.until);
        let times = [
            self.retry_at,
            own_at,
            tail_at,
            gate,
            idle.flatten(),
            call_until,
            self.scans_age_at(),
            self.effects_at(),
            self.expire_at(),
        ];
        times.into_iter().flatten().min()
    }

    /// Drives the owner until every handle is gone. `sleep_until` waits for a moment of the clock's elapsed time.
    pub async fn run<S: std::future::Future<Output = ()>>(mut self, sleep_until: impl Fn(Duration) -> S) {
        let mut sleep: Option<(Duration, std::pin::Pin<Box<S>>)> = None;
        let span = tracing::info_span!("partition", name = %self.name, node = %self.node);
        std::future::poll_fn(|cx| {
            let _entered = span.enter();
            loop {
                if self.poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let Some(at) = self.wake_at() else { return Poll::Pending };
                // One that wakes too early does no harm.
                if sleep.as_ref().is_none_or(|(sooner, _)| *sooner > at) {
                    sleep = Some((at, Box::pin(sleep_until(at))));
                }
                let waiting = sleep.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_pending());
                if waiting {
                    return Poll::Pending;
                }
                sleep = None;
            }
        })
        .await;
    }

    /// Everything that is stored, with the next offset to apply: at equal offset it is equal on every node.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn dump(&self) -> affinity_memstore::Result<(Offset, Vec<Entry>)> {
        let mut entries = Vec::new();
        let stores = (0..u16::try_from(P::STORES.len()).unwrap_or(u16::MAX)).map(StoreId);
        for scan in stores.map(Scan::all).chain([Scan::all(StoreId::LAST)]) {
            self.state.memstore().scan(At::Newest, &scan, &mut |key, value| {
                entries.push((scan.store, Bytes::copy_from_slice(key), value.version(), value.into_bytes()));
                ControlFlow::Continue(())
            })?;
        }
        Ok((self.state.next(), entries))
    }

    /// What is stored and expires, in the order of its times: at equal offset it is equal on every node.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn dump_due(&self) -> affinity_memstore::Result<Vec<Expiring>> {
        let mut due = self.state.memstore().due(EventTime(i64::MAX), usize::MAX)?;
        due.sort_unstable_by(|a, b| (a.expires, a.store, &a.key).cmp(&(b.expires, b.store, &b.key)));
        Ok(due)
    }

    /// Tells the listener what was applied.
    fn tell_listener(&mut self) {
        if P::LISTENS {
            let heard = self.state.take_heard();
            crate::listen::tell(&self.partition, self.state.names(), &heard, self.epoch().is_some());
        }
    }

    /// Whether nobody waits for anything.
    fn is_at_rest(&self) -> bool {
        self.pending.in_flight() == 0
            && self.undecided.is_empty()
            && self.gated.count == 0
            && self.reads.is_empty()
            && self.waiting.is_none()
    }

    fn removed(&self, protection: Protection) -> bool {
        #[cfg(feature = "mutants")]
        return self.settings.removed == Some(protection);
        #[cfg(not(feature = "mutants"))]
        {
            let _ = protection;
            false
        }
    }

    fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The elapsed time of this turn, no later than anything in it.
    fn polled_at(&mut self) -> Duration {
        *self.polled_at.get_or_insert_with(|| self.clock.elapsed())
    }

    /// The partition's time of this turn.
    fn tick(&mut self) -> EventTime {
        let now = *self.tick.get_or_insert_with(|| self.clock.now());
        now.max(self.latest())
    }

    /// The partition's time: the latest of the clock, the log's last timestamp and what was sent.
    fn time(&self) -> EventTime {
        self.clock.now().max(self.latest())
    }

    /// The latest time of a group, applied or sent: a clock that goes back takes none of it back.
    fn latest(&self) -> EventTime {
        self.state.time().max(self.sent_time)
    }

    fn epoch(&self) -> Option<Epoch> {
        self.phase.serving()
    }

    /// What is stored or written cannot be read: nothing is served any more, and somebody has to look.
    fn break_down(&mut self, error: &dyn std::error::Error) {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        tracing::error!(partition = %self.name, error = text, "the partition has stopped");
        self.broken = Some(text);
        self.happen(Event::Demote);
        (self.tail, self.tail_at, self.gap, self.call) = (None, None, None, None);
    }
}
