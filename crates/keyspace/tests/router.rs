//! The router over whole owners, on a log and a coordinator in memory, in paused time.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::sync::Arc;
use std::time::Duration;

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, Failure, Handle, Index, Indexed, Keyspaces, Master, Owner, OwnerSettings, Partition, Parts,
    Router, RouterParts, RouterSettings, Schemas, Sleep, Status, Store, Timer, View,
};
use affinity_log::memory::{ChannelId, Delivery, Fault, MemoryLog};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore};
use affinity_state::{IndexUpdate, KeepRequests, RequestSettings, Update};
use affinity_types::codec::Encode;
use affinity_types::{Clock, EventTime, Key, PartitionId};
use bytes::Bytes;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, advance};

const COUNTS: Store<str, i64> = Store::new("counts");
/// One key, the sum of all counts of the partition.
const TOTALS: Store<str, i64> = Store::new("totals");

const BY_COUNT: Index<str, i64, i64> = Index::new("by_count", 1, &COUNTS, |count| vec![*count]);

struct Counter;

#[derive(Clone, Debug)]
enum Command {
    Add(String, i64),
    /// Refused if there is not as much.
    Take(String, i64),
    Remove(String),
    Cheer(String),
    /// Panics after a change.
    Panic(String),
}

impl Encode for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{self:?}").as_bytes());
    }
}

#[derive(Clone, Debug)]
enum Query {
    Count(String),
    Total,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is only {have}")]
struct NotEnough {
    have: i64,
}

impl Partition for Counter {
    const STORES: &'static [&'static str] = &["counts", "totals"];
    const INDICES: &'static [&'static dyn Indexed] = &[&BY_COUNT];
    type Command = Command;
    type Query = Query;
    type Answer = i64;
    type Error = NotEnough;

    fn command(&self, cx: &mut Master<'_>, command: &Command) -> Result<i64, NotEnough> {
        let (key, by) = match command {
            Command::Add(key, by) => (key, *by),
            Command::Take(key, by) => (key, -*by),
            Command::Remove(key) => {
                cx.delete(&COUNTS, key.as_str());
                return Ok(0);
            }
            Command::Cheer(key) => {
                cx.send(&COUNTS, key.as_str(), &"hurrah".to_string());
                return Ok(0);
            }
            Command::Panic(key) => {
                cx.put(&COUNTS, key.as_str(), &-1);
                panic!("a handler of this test panics");
            }
        };
        let have = cx.get(&COUNTS, key.as_str()).unwrap_or(0);
        if have + by < 0 {
            return Err(NotEnough { have });
        }
        cx.put(&COUNTS, key.as_str(), &(have + by));
        let total = cx.get(&TOTALS, "").unwrap_or(0);
        cx.put(&TOTALS, "", &(total + by));
        Ok(have + by)
    }

    fn query(&self, cx: &View<'_>, query: &Query) -> Result<i64, NotEnough> {
        let found = match query {
            Query::Count(key) => cx.get(&COUNTS, key.as_str()),
            Query::Total => cx.get(&TOTALS, ""),
        };
        Ok(found.unwrap_or(0))
    }
}

/// The paused time of the runtime.
#[derive(Clone, Copy)]
struct TestTime(Instant);

impl Clock for TestTime {
    fn now(&self) -> EventTime {
        EventTime(1_000_000).plus_ms(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Timer for TestTime {
    fn sleep_until(&self, at: Duration) -> Sleep {
        Box::pin(tokio::time::sleep_until(self.0 + at))
    }
}

/// A timer that wakes a second late.
struct Late(TestTime);

impl Timer for Late {
    fn sleep_until(&self, at: Duration) -> Sleep {
        self.0.sleep_until(at + Duration::from_secs(1))
    }
}

/// A timer that never wakes.
struct Never;

impl Timer for Never {
    fn sleep_until(&self, _: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

/// A keyspace whose owners run when they are told to.
struct Keyspace {
    log: MemoryLog,
    time: TestTime,
    handles: Vec<Handle<Counter>>,
    idle: Vec<Owner<Counter>>,
    running: JoinSet<()>,
}

impl Keyspace {
    async fn new(partitions: u32) -> Keyspace {
        Keyspace::with(partitions, OwnerSettings::default()).await
    }

    async fn with(partitions: u32, settings: OwnerSettings) -> Keyspace {
        let (log, time) = (MemoryLog::default(), TestTime(Instant::now()));
        let coordinator = Arc::new(MemoryCoordinator::new());
        let spec = TopicSpec { partitions, cleanup: Cleanup::default() };
        let topic = log.create_topic("counters", spec).await.unwrap();
        let owner = |number| {
            let parts = Parts {
                place: place(number),
                topic: topic.id,
                name: PartitionName::new("counters", PartitionId(number)),
                node: NodeId::new("node"),
                log: Arc::new(log.clone()),
                coordinator: coordinator.clone(),
                memstore: Box::new(MemoryStore::new(Limits::default())),
                keep_requests: KeepRequests::InWindow,
                clock: Arc::new(time),
                schemas: Schemas { control: 1, store_key: 2, effect: 3 },
                links: Arc::new(Keyspaces::default()),
                seed: u64::from(number),
                settings: settings.clone(),
            };
            Owner::new(Counter, parts).unwrap()
        };
        let (idle, handles) = (0..partitions).map(owner).unzip();
        Keyspace { log, time, handles, idle, running: JoinSet::new() }
    }

    /// Runs the owners, as standbys.
    fn run(&mut self) {
        for owner in self.idle.drain(..) {
            let start = self.time.0;
            self.running.spawn(owner.run(move |at| tokio::time::sleep_until(start + at)));
        }
    }

    /// Runs the owners, as masters: messages wait until they are.
    fn serve(&mut self) {
        self.order(Control::Promote);
        self.run();
    }

    fn order(&self, control: Control) {
        self.handles.iter().for_each(|handle| handle.order(control));
    }

    fn router(&self) -> Router<Counter> {
        self.router_with(RouterSettings::default(), Arc::new(self.time))
    }

    fn router_with(&self, settings: RouterSettings, timer: Arc<dyn Timer>) -> Router<Counter> {
        let parts = RouterParts { clock: Arc::new(self.time), timer, client: 7, seed: 1, settings };
        Router::new(self.handles.clone(), parts)
    }

    /// The channel of the newest writer of the first partition.
    fn channel(&self) -> ChannelId {
        *self.log.channels(&place(0)).last().unwrap()
    }

    fn queued(&self) -> usize {
        self.handles.iter().map(|handle| handle.status().queued).sum()
    }

    /// Lets others run until the first partition's owner shows what is wanted.
    async fn until(&self, wanted: impl Fn(&Status) -> bool) {
        while !wanted(&self.handles[0].status()) {
            yield_now().await;
        }
    }
}

fn place(partition: u32) -> TopicPartition {
    TopicPartition::new("counters", PartitionId(partition))
}

fn add(by: i64) -> Command {
    Command::Add("a".into(), by)
}

fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}

async fn count(router: &Router<Counter>, key: &str) -> i64 {
    router.query(key, Query::Count(key.into()), None).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn keys_go_where_kafkas_partitioner_sends_them() {
    let mut keyspace = Keyspace::new(16).await;
    keyspace.serve();
    let router = keyspace.router();
    assert_eq!(router.partition("s"), PartitionId(15), "as a program of others computes it");
    for number in 0..50 {
        let key = format!("key-{number}");
        let partition = router.partition(&key);
        assert_eq!(partition, Key::new(Bytes::from(key.clone())).partition(16));
        assert_eq!(router.ask(&key, Command::Add(key.clone(), 3), None).await, Ok(3));
        for (at, handle) in keyspace.handles.iter().enumerate() {
            let expected = if at == partition.0 as usize { 3 } else { 0 };
            assert_eq!(handle.read(Query::Count(key.clone())).await, Ok(expected), "{key} at {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_what_it_took_is_done() {
    let settings = OwnerSettings { queue_max: 2, ..OwnerSettings::default() };
    let mut keyspace = Keyspace::with(1, settings).await;
    let router = keyspace.router();
    assert_eq!(router.tell("a", add(1)), Ok(()));
    assert_eq!(router.tell("a", add(1)), Ok(()));
    assert_eq!(router.tell("a", add(1)), Err(Failure::Overloaded));
    assert_eq!(router.ask("a", add(1), None).await, Err(Failure::Overloaded));
    assert_eq!(router.query("a", Query::Count("a".into()), None).await, Err(Failure::Overloaded));
    assert!(matches!(router.watch(&COUNTS, "a", None).await, Err(Failure::Overloaded)));
    keyspace.serve();
    keyspace.until(|status| status.queued == 0).await;
    assert_eq!(count(&router, "a").await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_beyond_its_deadline_is_not_run() {
    let mut keyspace = Keyspace::new(1).await;
    let router = keyspace.router();
    assert_eq!(router.ask("a", add(1), ms(10)).await, Err(Failure::Unknown), "the queue has it");
    assert_eq!(router.ask_with_retry("a", add(1), ms(10)).await, Err(Failure::Unknown));
    assert_eq!(
        router.query("a", Query::Count("a".into()), ms(10)).await,
        Err(Failure::DeadlinePassed),
        "it changes nothing, whatever becomes of it"
    );
    assert!(matches!(router.watch(&COUNTS, "a", ms(10)).await, Err(Failure::DeadlinePassed)));
    advance(Duration::from_millis(1)).await;
    keyspace.serve();
    assert_eq!(count(&router, "a").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_deadline_has_passed_is_not_even_sent() {
    let keyspace = Keyspace::new(1).await;
    let router = keyspace.router();
    assert_eq!(router.ask("a", add(1), ms(0)).await, Err(Failure::DeadlinePassed));
    assert_eq!(router.ask_with_retry("a", add(1), ms(0)).await, Err(Failure::DeadlinePassed));
    assert_eq!(router.query("a", Query::Total, ms(0)).await, Err(Failure::DeadlinePassed));
    assert!(matches!(router.watch(&COUNTS, "a", ms(0)).await, Err(Failure::DeadlinePassed)));
    let scattered = router.scatter(Query::Total, 0, |sum, n| sum + n, ms(0)).await;
    assert_eq!(scattered, Err(Failure::DeadlinePassed));
    assert_eq!(keyspace.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_owner_says_for_sure_that_a_late_message_was_not_run() {
    let mut keyspace = Keyspace::new(1).await;
    let router = keyspace.router_with(RouterSettings::default(), Arc::new(Never));
    let serve_late = async {
        advance(Duration::from_millis(11)).await;
        keyspace.serve();
    };
    let (command, query, ()) =
        tokio::join!(router.ask("a", add(1), ms(10)), router.query("a", Query::Total, ms(10)), serve_late);
    assert_eq!((command, query), (Err(Failure::DeadlinePassed), Err(Failure::DeadlinePassed)));
    assert_eq!(count(&router, "a").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_command_in_flight_at_its_deadline_is_unknown() {
    let mut keyspace = Keyspace::new(1).await;
    keyspace.serve();
    let router = keyspace.router();
    assert_eq!(count(&router, "a").await, 0);
    keyspace.log.deliver(Delivery::Manual);
    assert_eq!(router.ask("a", add(1), ms(10)).await, Err(Failure::Unknown));
    assert_eq!(router.ask_with_retry("a", add(1), ms(10)).await, Err(Failure::Unknown));
    keyspace.log.deliver(Delivery::Automatic);
    assert_eq!(count(&router, "a").await, 2, "both have happened");
}

#[tokio::test(start_paused = true)]
async fn a_refused_command_is_tried_again_and_applied_once() {
    let mut keyspace = Keyspace::new(1).await;
    keyspace.serve();
    let router = keyspace.router();
    assert_eq!(router.ask("a", add(1), None).await, Ok(1));
    keyspace.log.inject(keyspace.channel(), Fault::Refuse);
    assert_eq!(router.ask("a", add(1), None).await, Err(Failure::Unavailable));
    keyspace.log.inject(keyspace.channel(), Fault::Refuse);
    assert_eq!(router.ask_with_retry("a", add(1), None).await, Ok(2));
    assert_eq!(count(&router, "a").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_outcome_is_decided_by_the_log() {
    for (fault, expected) in [(Fault::LoseAck, Ok(1)), (Fault::LoseAppend, Err(Failure::Unavailable))] {
        let mut keyspace = Keyspace::new(1).await;
        keyspace.serve();
        let router = keyspace.router();
        assert_eq!(count(&router, "a").await, 0);
        keyspace.log.inject(keyspace.channel(), fault);
        assert_eq!(router.ask("a", add(1), None).await, expected, "{fault:?}");
        let before = count(&router, "a").await;
        keyspace.log.inject(keyspace.channel(), fault);
        assert_eq!(router.ask_with_retry("a", add(1), None).await, Ok(before + 1), "{fault:?}");
        assert_eq!(count(&router, "a").await, before + 1, "{fault:?}");
    }
}

/// An owner steps down with a command in flight, so that its outcome is unknown; whether it lands or not, the retry under
/// the same id makes it happen once.
async fn retried_over_an_unknown_outcome(lands: bool) {
    let mut keyspace = Keyspace::new(1).await;
    keyspace.serve();
    let router = keyspace.router();
    assert_eq!(count(&router, "a").await, 0);
    keyspace.log.deliver(Delivery::Manual);
    let disturb = async {
        keyspace.until(|status| status.pending == 1).await;
        let channel = keyspace.channel();
        keyspace.order(Control::Demote);
        keyspace.until(|status| status.serving.is_none()).await;
        if lands {
            assert_eq!(keyspace.log.land(channel, 1), 1);
        } else {
            assert_eq!(keyspace.log.discard(channel), 1);
        }
        keyspace.log.deliver(Delivery::Automatic);
        advance(Duration::from_millis(100)).await;
        keyspace.order(Control::Promote);
    };
    let (answer, ()) = tokio::join!(router.ask_with_retry("a", add(1), None), disturb);
    assert_eq!(answer, Ok(1), "lands: {lands}");
    assert_eq!(count(&router, "a").await, 1, "lands: {lands}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_over_an_unknown_outcome_is_applied_once() {
    retried_over_an_unknown_outcome(true).await;
    retried_over_an_unknown_outcome(false).await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_stays_unknown_is_never_reported_as_a_refusal() {
    // Every further try finds a standby, or that there is no time left for it.
    for late in [false, true] {
        let mut keyspace = Keyspace::new(1).await;
        keyspace.serve();
        let timer: Arc<dyn Timer> =
            if late { Arc::new(Late(keyspace.time)) } else { Arc::new(keyspace.time) };
        let router = keyspace.router_with(RouterSettings::default(), timer);
        assert_eq!(count(&router, "a").await, 0);
        keyspace.log.deliver(Delivery::Manual);
        let disturb = async {
            keyspace.until(|status| status.pending == 1).await;
            keyspace.order(Control::Demote);
        };
        let (answer, ()) = tokio::join!(router.ask_with_retry("a", add(1), ms(500)), disturb);
        assert_eq!(answer, Err(Failure::Unknown), "late: {late}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_applied_and_forgotten_is_unknown() {
    let requests =
        RequestSettings { request_window_ms: 50, request_skew_max_ms: 0, ..RequestSettings::default() };
    let mut keyspace = Keyspace::with(1, OwnerSettings { requests, ..OwnerSettings::default() }).await;
    keyspace.serve();
    let router = keyspace.router();
    assert_eq!(count(&router, "a").await, 0);
    keyspace.log.deliver(Delivery::Manual);
    let disturb = async {
        keyspace.until(|status| status.pending == 1).await;
        keyspace.order(Control::Demote);
        keyspace.until(|status| status.phase == "standby").await;
        keyspace.log.deliver(Delivery::Automatic);
        advance(Duration::from_millis(100)).await;
        keyspace.order(Control::Promote);
    };
    let (request, began) = (router.next_request(), Instant::now());
    let (answer, ()) = tokio::join!(router.ask_as(request, "a", add(1), ms(5000)), disturb);
    assert_eq!(answer, Err(Failure::Unknown));
    assert!(began.elapsed() < Duration::from_secs(5), "a further try would do no better");
    assert_eq!(router.ask_as(request, "a", add(1), None).await, Err(Failure::RequestExpired));
}

#[tokio::test(start_paused = true)]
async fn retries_end_before_the_deadline_with_the_last_failure() {
    let mut keyspace = Keyspace::new(1).await;
    keyspace.run();
    let router = keyspace.router();
    assert_eq!(router.ask_with_retry("a", add(1), ms(3000)).await, Err(Failure::Unavailable));
    let took = keyspace.time.elapsed();
    assert!(took > Duration::from_millis(1900) && took <= Duration::from_millis(3000), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_until_somebody_serves() {
    let mut keyspace = Keyspace::new(1).await;
    keyspace.run();
    let router = keyspace.router();
    let promote = async {
        advance(Duration::from_millis(700)).await;
        keyspace.order(Control::Promote);
    };
    let (answer, ()) = tokio::join!(router.ask_with_retry("a", add(1), None), promote);
    assert_eq!(answer, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn another_request_under_an_id_is_a_conflict() {
    let mut keyspace = Keyspace::new(1).await;
    keyspace.serve();
    let router = keyspace.router();
    let id = router.next_request();
    assert_eq!(router.ask_as(id, "a", add(1), None).await, Ok(1));
    assert_eq!(router.ask_as(id, "a", add(2), None).await, Err(Failure::Conflict));
    assert_eq!(router.ask_as(id, "a", add(1), None).await, Ok(1), "the first answer");
    assert_eq!(count(&router, "a").await, 1);
    assert_ne!(router.clone().next_request(), router.next_request(), "clones share the numbers");
}

#[tokio::test(start_paused = true)]
async fn a_handlers_own_error_comes_to_its_caller_at_once() {
    let mut keyspace = Keyspace::new(1).await;
    keyspace.serve();
    let router = keyspace.router();
    assert_eq!(router.ask("a", add(3), None).await, Ok(3));
    let take = Command::Take("a".into(), 4);
    let refused = Err(Failure::Handler(NotEnough { have: 3 }));
    assert_eq!(router.ask("a", take.clone(), None).await, refused);
    assert_eq!(router.ask_with_retry("a", take, None).await, refused);
    assert_eq!(count(&router, "a").await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_its_caller_alone() {
    let mut keyspace = Keyspace::new(1).await;
    keyspace.serve();
    let router = keyspace.router();
    let (before, panicked, after) = tokio::join!(
        router.ask("a", add(1), None),
        router.ask_with_retry("a", Command::Panic("a".into()), None),
        router.ask("a", add(1), None),
    );
    assert_eq!((before, panicked, after), (Ok(1), Err(Failure::Panicked), Ok(2)));
    assert_eq!(count(&router, "a").await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_done_before_what_is_asked_later() {
    let mut keyspace = Keyspace::new(1).await;
    keyspace.serve();
    let router = keyspace.router();
    assert_eq!(router.tell("a", add(5)), Ok(()));
    assert_eq!(count(&router, "a").await, 5);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_ends_leaves_commands_unknown_and_queries_undone() {
    let mut keyspace = Keyspace::new(1).await;
    let router = keyspace.router();
    let end = async { keyspace.idle.clear() };
    let (command, query, ()) =
        tokio::join!(router.ask("a", add(1), None), router.query("a", Query::Total, None), end);
    assert_eq!((command, query), (Err(Failure::Unknown), Err(Failure::Unavailable)));
    assert_eq!(router.tell("a", add(1)), Err(Failure::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_scattered_query_gathers_in_the_order_of_the_partitions() {
    let mut keyspace = Keyspace::new(5).await;
    keyspace.serve();
    let settings = RouterSettings { scatter_max: 2, ..RouterSettings::default() };
    let router = keyspace.router_with(settings, Arc::new(keyspace.time));
    let mut expected = vec![0; 5];
    for number in 0..20 {
        let key = format!("key-{number}");
        expected[router.partition(&key).0 as usize] += number;
        router.ask(&key, Command::Add(key.clone(), number), None).await.unwrap();
    }
    let push = |mut all: Vec<i64>, total| {
        all.push(total);
        all
    };
    assert_eq!(router.scatter(Query::Total, Vec::new(), push, None).await, Ok(expected));
}

#[tokio::test(start_paused = true)]
async fn a_scattered_query_is_answered_by_all_or_by_the_first_failure() {
    let mut keyspace = Keyspace::new(4).await;
    keyspace.serve();
    let router = keyspace.router();
    let sum = |sum: i64, total: i64| sum + total;
    assert_eq!(router.scatter(Query::Total, 0, sum, None).await, Ok(0));
    keyspace.handles[2].order(Control::Demote);
    assert_eq!(router.scatter(Query::Total, 0, sum, None).await, Err(Failure::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_scattered_query_waits_for_few_at_a_time_and_not_beyond_its_deadline() {
    let keyspace = Keyspace::new(8).await;
    let settings = RouterSettings { scatter_max: 3, ..RouterSettings::default() };
    let router = keyspace.router_with(settings, Arc::new(keyspace.time));
    let answer = router.scatter(Query::Total, 0, |sum, total| sum + total, ms(50)).await;
    assert_eq!(answer, Err(Failure::DeadlinePassed));
    assert_eq!((keyspace.queued(), keyspace.time.elapsed().as_millis() / 10), (3, 5));
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_the_value_and_then_every_change_in_order() {
    let mut keyspace = Keyspace::new(4).await;
    keyspace.serve();
    let router = keyspace.router();
    router.ask("a", add(1), None).await.unwrap();
    let mut watched = router.watch(&COUNTS, "a", None).await.unwrap();
    let Update::Value { value, version } = watched.current else { panic!("it begins with a value") };
    assert_eq!(value, Some(1i64.to_bytes()));
    let mut versions = vec![version];
    for (command, expected) in [(add(1), Some(2i64.to_bytes())), (Command::Remove("a".into()), None)] {
        router.ask("a", command, None).await.unwrap();
        let Update::Value { value, version } = watched.watch.next().await.unwrap() else { panic!("a value") };
        assert_eq!(value, expected);
        versions.push(version);
    }
    router.ask("a", Command::Cheer("a".into()), None).await.unwrap();
    assert_eq!(watched.watch.next().await, Ok(Update::Event("hurrah".into())));
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    let missing: Store<str, i64> = Store::new("missing");
    assert!(matches!(router.watch(&missing, "a", None).await, Err(Failure::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn a_further_stores_key_is_watched_where_the_message_lives() {
    let mut keyspace = Keyspace::new(4).await;
    keyspace.serve();
    let router = keyspace.router();
    let partition = router.partition("a");
    let mut watched = router.watch_in(partition, &TOTALS, "", None).await.unwrap();
    assert!(matches!(watched.current, Update::Value { value: None, .. }));
    router.ask("a", add(4), None).await.unwrap();
    let update = watched.watch.next().await.unwrap();
    assert!(matches!(update, Update::Value { value: Some(value), .. } if value == 4i64.to_bytes()));
    let nowhere = router.watch_in(PartitionId(4), &TOTALS, "", None).await;
    assert!(matches!(nowhere, Err(Failure::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn an_index_key_is_watched_in_a_partition() {
    let mut keyspace = Keyspace::new(4).await;
    keyspace.serve();
    let router = keyspace.router();
    router.ask("a", add(7), None).await.unwrap();
    let partition = router.partition("a");
    let mut watched = router.watch_index_in(partition, &BY_COUNT, &7, None).await.unwrap();
    assert_eq!(watched.keys, [Bytes::from("a")]);
    router.ask("a", add(1), None).await.unwrap();
    assert_eq!(watched.watch.next().await, Ok(IndexUpdate::Left("a".into())));
    let nowhere = router.watch_index_in(PartitionId(4), &BY_COUNT, &7, None).await;
    assert!(matches!(nowhere, Err(Failure::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn an_owner_is_not_due_before_now_while_a_group_is_long_in_flight() {
    let mut keyspace = Keyspace::new(1).await;
    let mut owner = keyspace.idle.pop().unwrap();
    let poll = |owner: &mut Owner<Counter>| {
        let _ = owner.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    };
    keyspace.order(Control::Promote);
    (0..10).for_each(|_| poll(&mut owner));
    assert!(keyspace.handles[0].status().serving.is_some());
    keyspace.log.deliver(Delivery::Manual);
    keyspace.router().tell("a", add(1)).unwrap();
    poll(&mut owner);
    assert_eq!(keyspace.handles[0].status().pending, 1);
    advance(Duration::from_millis(5001)).await;
    poll(&mut owner);
    let (now, due) = (keyspace.time.elapsed(), owner.wake_at());
    assert!(due.is_none_or(|at| at > now), "due at {due:?}, and it is {now:?}");
}
