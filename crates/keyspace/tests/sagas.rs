//! Sagas between accounts: in the harness step by step, and over owners whose masters change.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    AnySaga, Changed, Control, Destination, Emission, Failure, Handle, Harness, Incoming, Keyspaces, Links,
    Master, NotResumed, Owner, OwnerSettings, Partition, Parts, Refused, Reply, Resume, SAGA_STEPS_MAX, Saga,
    SagaExists, SagaState, Sagas, Schemas, Steps, Stop, Store, View,
};
use affinity_log::memory::{Fencing, MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore};
use affinity_state::KeepRequests;
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::{Clock, EventTime, Key, ManualClock, PartitionId};
use bytes::Bytes;
use tokio::sync::oneshot;

const BALANCES: Store<str, i64> = Store::new("balances");
const NOTES: Store<str, String> = Store::new("notes");
const BANK: Destination<str, i64> = Destination::new("bank");
const NOWHERE: Destination<str, i64> = Destination::new("nowhere");
const TRANSFERS: Sagas<str, Transfer> = Sagas::<str, Transfer>::new("transfers").kept_for(60_000);
const STRANGE: Sagas<str, Transfer> = Sagas::new("notes");
const PARTITIONS: u32 = 2;

/// An amount that is answered at length.
const LONG: i64 = 1_000;
/// Bytes of a wide transfer.
const WIDE_BYTES: usize = 3_000;

/// What a transfer does beside moving an amount from ada to ben.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Plain,
    /// If ben is refused, carl gets it.
    OrCarl,
    /// Gives up after the first step.
    GivesUp,
    /// Its function panics after the first step, while [`BROKEN`].
    Panics,
    /// The second step goes to a keyspace that is not there.
    Nowhere,
    /// Takes another first step, while [`BROKEN`].
    Changes,
    /// Reads what is answered as what it is not.
    Misreads,
    /// Has no steps.
    Nothing,
    /// Keeps what is answered as it is.
    Long,
    /// Has many bytes itself.
    Wide,
    /// Tries again what is refused, for ever.
    Insists,
    /// Cannot be read, while [`BROKEN`].
    Unreadable,
}

const KINDS: [Kind; 12] = [
    Kind::Plain,
    Kind::OrCarl,
    Kind::GivesUp,
    Kind::Panics,
    Kind::Nowhere,
    Kind::Changes,
    Kind::Misreads,
    Kind::Nothing,
    Kind::Long,
    Kind::Wide,
    Kind::Insists,
    Kind::Unreadable,
];

/// Code that a later version of an application mends. Each test that sets it runs its own kind.
static BROKEN: [AtomicBool; 12] = [const { AtomicBool::new(false) }; 12];

fn is_broken(kind: Kind) -> bool {
    BROKEN[kind as usize].load(Ordering::SeqCst)
}

fn set_broken(kind: Kind, broken: bool) {
    BROKEN[kind as usize].store(broken, Ordering::SeqCst);
}

#[derive(Clone, Debug)]
struct Transfer {
    kind: Kind,
    amount: i64,
}

impl Encode for Transfer {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        self.amount.encode(out);
        if self.kind == Kind::Wide {
            out.resize(WIDE_BYTES, 0);
        }
    }
}

impl Decode for Transfer {
    fn decode(bytes: &[u8]) -> Result<Transfer, CodecError> {
        let (kind, amount) = bytes.split_first().ok_or_else(|| CodecError("empty".into()))?;
        let kind = KINDS[usize::from(*kind)];
        if kind == Kind::Unreadable && is_broken(kind) {
            return Err(CodecError("it is unreadable".into()));
        }
        Ok(Transfer { kind, amount: i64::decode(&amount[..8])? })
    }
}

impl Saga for Transfer {
    type Answer = i64;

    fn run(&self, steps: &mut Steps<'_>) -> Result<i64, Stop> {
        let Transfer { kind, amount } = *self;
        if kind == Kind::Nothing {
            return Ok(0);
        }
        if kind == Kind::Long {
            steps.run(&BANK, "ada", &-amount, |_: &Bytes| amount)?;
            steps.run(&BANK, "ben", &amount, |_: &Bytes| -amount)?;
            return Ok(0);
        }
        let from = if kind == Kind::Changes && is_broken(kind) { "eve" } else { "ada" };
        if kind == Kind::Misreads {
            steps.run(&BANK, from, &-amount, |_: &u16| amount)?;
        }
        let left = steps.run(&BANK, from, &-amount, |_: &i64| amount)?;
        match kind {
            Kind::GivesUp => return Err(Stop::because("enough")),
            Kind::Panics => assert!(!is_broken(kind), "a saga of this test panics"),
            Kind::Nowhere => {
                let _: i64 = steps.run(&NOWHERE, "x", &amount, |_| -amount)?;
            }
            Kind::Insists => loop {
                match steps.ask::<_, _, i64>(&BANK, "ben", &-amount) {
                    Err(stop) if stop.is_refusal() => {}
                    stepped => drop(stepped?),
                }
            },
            _ => {}
        }
        match steps.run(&BANK, "ben", &amount, |_: &i64| -amount) {
            Err(stop) if stop.is_refusal() && kind == Kind::OrCarl => {
                let _: i64 = steps.ask(&BANK, "carl", &amount)?;
            }
            stepped => drop(stepped?),
        }
        Ok(left)
    }

    fn ended(&self, cx: &mut Master<'_>, state: &SagaState<i64>) {
        cx.put(&NOTES, "ended", &format!("{state:?}"));
    }
}

#[derive(Clone)]
enum Ask {
    Begin(&'static str, Transfer),
    BeginStrange,
    Resume(&'static str, Resume),
    /// The same, and says nothing if it does not go on.
    TryResume(&'static str, Resume),
    Delete(&'static str),
    Give(String, i64),
}

impl Encode for Ask {
    fn encode(&self, _: &mut Vec<u8>) {}
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum BankError {
    #[error("{0}")]
    Exists(#[from] SagaExists),
    #[error("{0}")]
    NotResumed(#[from] NotResumed),
}

/// Accounts below zero, and the account `closed`, are refused.
struct Bank;

impl Partition for Bank {
    const STORES: &'static [&'static str] = &["balances", "notes", "transfers"];
    const SAGAS: &'static [&'static dyn AnySaga] = &[&TRANSFERS];
    type Command = Ask;
    type Query = String;
    type Answer = Bytes;
    type Error = BankError;

    fn command(&self, cx: &mut Master<'_>, ask: &Ask) -> Result<Bytes, BankError> {
        match ask {
            Ask::Begin(id, transfer) => cx.begin(&TRANSFERS, id, transfer)?,
            Ask::BeginStrange => {
                cx.begin(&STRANGE, "x", &Transfer { kind: Kind::Plain, amount: 1 })?;
            }
            Ask::Resume(id, how) => cx.resume(&TRANSFERS, id, *how)?,
            Ask::TryResume(id, how) => drop(cx.resume(&TRANSFERS, id, *how)),
            Ask::Delete(id) => cx.delete(TRANSFERS.store(), id),
            Ask::Give(account, amount) => cx.put(&BALANCES, account.as_str(), amount),
        }
        Ok(Bytes::new())
    }

    fn query(&self, cx: &View<'_>, what: &String) -> Result<Bytes, BankError> {
        if let Some(state) = cx.get(TRANSFERS.store(), what.as_str()) {
            return Ok(format!("{state:?}").into());
        }
        Ok(cx.get(&BALANCES, what.as_str()).unwrap_or(0).to_string().into())
    }

    fn effect(&self, cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<Bytes, Refused> {
        let (account, amount) = (effect.key::<String>()?, effect.message::<i64>()?);
        let balance = cx.get(&BALANCES, account.as_str()).unwrap_or(0) + amount;
        if balance < 0 {
            return Err(Refused(format!("{account} has too little")));
        }
        cx.put(&BALANCES, account.as_str(), &balance);
        if amount.abs() == LONG {
            return Ok(Bytes::from(vec![0; 2_700]));
        }
        Ok(balance.to_bytes())
    }
}

fn state(harness: &Harness<Bank>, id: &str) -> Option<SagaState<i64>> {
    harness.get(TRANSFERS.store(), id)
}

fn stuck(reason: &str) -> SagaState<i64> {
    SagaState::Stuck { reason: reason.into() }
}

fn compensated(reason: &str, left: usize) -> SagaState<i64> {
    SagaState::Compensated { reason: reason.into(), left }
}

fn told(effect: &Emission) -> (&str, i64) {
    (std::str::from_utf8(&effect.key).unwrap(), i64::decode(&effect.message).unwrap())
}

/// A harness in which a transfer of 30 has begun, and what it has sent.
fn begun(kind: Kind) -> (Harness<Bank>, Emission) {
    let mut harness = Harness::new(Bank, 1);
    let outcome = harness.command(Ask::Begin("t", Transfer { kind, amount: 30 }));
    assert_eq!(outcome.answer, Ok(Bytes::new()));
    (harness, outcome.effects.into_iter().next().unwrap())
}

/// The one effect of an outcome.
fn sent(outcome: affinity_keyspace::Outcome<(), Refused>) -> Emission {
    assert_eq!(outcome.answer, Ok(()));
    assert_eq!(outcome.effects.len(), 1);
    outcome.effects.into_iter().next().unwrap()
}

#[test]
fn steps_follow_each_other_and_the_end_is_in_the_group_that_says_so() {
    let (mut harness, first) = begun(Kind::Plain);
    assert_eq!((told(&first), first.asks), (("ada", -30), true));
    assert_eq!(state(&harness, "t"), Some(SagaState::Running { done: 0 }));
    let second = sent(harness.answer(&first, &70i64));
    assert_eq!(told(&second), ("ben", 30));
    assert_eq!(state(&harness, "t"), Some(SagaState::Running { done: 1 }));
    let ended = harness.answer(&second, &30i64);
    assert!(ended.effects.is_empty());
    assert!(ended.changes.contains(&Changed::put(&NOTES, "ended", &"Committed(70)".to_owned())));
    assert_eq!(state(&harness, "t"), Some(SagaState::Committed(70)));
    // What has come is not taken twice, and an id is used once.
    assert_eq!(harness.answer(&first, &1i64).changes, []);
    let again = harness.command(Ask::Begin("t", Transfer { kind: Kind::Plain, amount: 1 }));
    assert_eq!(again.answer, Err(Failure::Handler(BankError::Exists(SagaExists))));
    harness.set_now(EventTime(60_000));
    assert_eq!(state(&harness, "t"), None);
}

#[test]
fn a_refusal_undoes_what_was_done() {
    let (mut harness, first) = begun(Kind::Plain);
    let second = sent(harness.answer(&first, &70i64));
    let reversal = sent(harness.refuse(&second, "closed"));
    assert_eq!((told(&reversal), reversal.asks), (("ada", 30), true));
    assert_eq!(state(&harness, "t"), Some(SagaState::Compensating { reason: "closed".into() }));
    // The same step's answer is not that of its reversal.
    assert_eq!(harness.answer(&first, &1i64).changes, []);
    assert_eq!(harness.answer(&reversal, &100i64).answer, Ok(()));
    assert_eq!(state(&harness, "t"), Some(compensated("closed", 0)));
}

#[test]
fn a_refused_first_step_leaves_nothing_to_undo() {
    let (mut harness, first) = begun(Kind::Plain);
    assert!(harness.refuse(&first, "poor").effects.is_empty());
    assert_eq!(state(&harness, "t"), Some(compensated("poor", 0)));
}

#[test]
fn a_saga_may_give_up() {
    let (mut harness, first) = begun(Kind::GivesUp);
    let reversal = sent(harness.answer(&first, &70i64));
    assert_eq!(told(&reversal), ("ada", 30));
    assert_eq!(state(&harness, "t"), Some(SagaState::Compensating { reason: "enough".into() }));
}

#[test]
fn a_refusal_may_be_answered_by_another_step() {
    let (mut harness, first) = begun(Kind::OrCarl);
    let second = sent(harness.answer(&first, &70i64));
    let third = sent(harness.refuse(&second, "closed"));
    assert_eq!(told(&third), ("carl", 30));
    assert_eq!(harness.answer(&third, &30i64).answer, Ok(()));
    assert_eq!(state(&harness, "t"), Some(SagaState::Committed(70)));
}

#[test]
fn a_saga_without_steps_is_done_at_once() {
    let mut harness = Harness::new(Bank, 1);
    let outcome = harness.command(Ask::Begin("t", Transfer { kind: Kind::Nothing, amount: 0 }));
    assert!(outcome.effects.is_empty());
    assert_eq!(state(&harness, "t"), Some(SagaState::Committed(0)));
}

#[test]
fn a_refused_reversal_is_stuck_until_somebody_decides() {
    for how in [Resume::Again, Resume::Leave] {
        let (mut harness, first) = begun(Kind::Plain);
        let second = sent(harness.answer(&first, &70i64));
        let reversal = sent(harness.refuse(&second, "closed"));
        assert!(harness.refuse(&reversal, "frozen").effects.is_empty());
        assert_eq!(state(&harness, "t"), Some(stuck("closed; then step 0 was not undone: frozen")));
        let resumed = harness.command(Ask::Resume("t", how));
        assert_eq!(resumed.answer, Ok(Bytes::new()));
        let left = match how {
            Resume::Leave => 1,
            Resume::Again => {
                assert_eq!(told(&resumed.effects[0]), ("ada", 30));
                assert_eq!(harness.answer(&resumed.effects[0], &100i64).answer, Ok(()));
                0
            }
        };
        assert!(
            matches!(state(&harness, "t"), Some(SagaState::Compensated { left: l, .. }) if l == left),
            "{how:?}"
        );
        let again = harness.command(Ask::Resume("t", how)).answer;
        assert_eq!(
            again,
            Err(Failure::Handler(BankError::NotResumed(NotResumed("the saga is not stuck".into()))))
        );
    }
}

#[test]
fn what_comes_for_a_saga_that_is_deleted_is_not_taken_by_the_next_of_its_id() {
    let (mut harness, old) = begun(Kind::Plain);
    harness.command(Ask::Delete("t"));
    assert_eq!(harness.answer(&old, &70i64).changes, []);
    let new = harness.command(Ask::Begin("t", Transfer { kind: Kind::Plain, amount: 30 })).effects.remove(0);
    assert_eq!(harness.refuse(&old, "poor").changes, []);
    assert_eq!(harness.answer(&old, &70i64).changes, []);
    assert_eq!(state(&harness, "t"), Some(SagaState::Running { done: 0 }));
    assert_eq!(told(&sent(harness.answer(&new, &70i64))), ("ben", 30));
}

#[test]
fn who_is_not_resumed_is_as_before() {
    let (mut harness, first) = begun(Kind::Unreadable);
    let second = sent(harness.answer(&first, &70i64));
    let reversal = sent(harness.refuse(&second, "closed"));
    harness.refuse(&reversal, "frozen");
    set_broken(Kind::Unreadable, true);
    let resumed = harness.command(Ask::TryResume("t", Resume::Leave));
    assert_eq!((resumed.answer, resumed.changes), (Ok(Bytes::new()), Vec::new()));
    assert!(state(&harness, "t").unwrap().is_stuck());
    set_broken(Kind::Unreadable, false);
}

#[test]
fn an_answer_that_cannot_be_read_is_refused() {
    let (mut harness, first) = begun(Kind::Misreads);
    let outcome = harness.answer(&first, &70i64);
    assert!(matches!(outcome.answer, Err(Failure::Handler(Refused(why))) if why.contains("cannot be read")));
}

type Node = (Owner<Bank>, Handle<Bank>);

struct World {
    log: MemoryLog,
    clock: Arc<ManualClock>,
    coordinator: MemoryCoordinator,
    keyspaces: Arc<Keyspaces>,
    nodes: Vec<Node>,
    value_max_bytes: usize,
}

impl World {
    /// A master of each partition; ada has 100.
    fn new(value_max_bytes: usize) -> World {
        let mut world = World {
            log: MemoryLog::new(MemoryOptions { fencing: Fencing::Known, ..MemoryOptions::default() }),
            clock: Arc::new(ManualClock::at(EventTime(1_700_000_000_000))),
            coordinator: MemoryCoordinator::new(),
            keyspaces: Arc::default(),
            nodes: Vec::new(),
            value_max_bytes,
        };
        world.start();
        world.ask("ada", Ask::Give("ada".into(), 2_000)).unwrap();
        world
    }

    /// Starts a node of each partition from nothing, in place of the one before, and promotes it.
    fn start(&mut self) {
        let started = (0..PARTITIONS).map(|partition| self.node(partition)).collect();
        self.nodes = started;
        self.keyspaces.add("bank", self.nodes.iter().map(|(_, handle)| handle.clone()));
        self.settle();
    }

    fn node(&self, partition: u32) -> Node {
        let spec = TopicSpec { partitions: PARTITIONS, cleanup: Cleanup::default() };
        let limits = Limits { value_max_bytes: self.value_max_bytes, ..Limits::default() };
        let parts = Parts {
            place: TopicPartition::new("bank", PartitionId(partition)),
            topic: ready(self.log.create_topic("bank", spec)).unwrap().id,
            name: PartitionName::new("bank", PartitionId(partition)),
            node: NodeId::new(format!("node-{partition}")),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(self.coordinator.clone()),
            memstore: Box::new(MemoryStore::new(limits)),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links: Arc::clone(&self.keyspaces) as Arc<dyn Links>,
            seed: 7,
            settings: OwnerSettings { effect_tries: 2, ..OwnerSettings::default() },
        };
        let (owner, handle) = Owner::new(Bank, parts).unwrap();
        handle.order(Control::Promote);
        (owner, handle)
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            for (owner, _) in &mut self.nodes {
                let _ = owner.poll(&mut Context::from_waker(Waker::noop()));
            }
            self.clock.advance_ms(5);
        }
    }

    fn of(&self, key: &str) -> &Handle<Bank> {
        &self.nodes[Key::new(key.to_bytes()).partition(PARTITIONS).0 as usize].1
    }

    fn ask(&mut self, key: &str, ask: Ask) -> Reply<Bytes, BankError> {
        let (reply, mut answer) = oneshot::channel();
        self.of(key).command(ask, None, None, Some(reply)).unwrap();
        self.settle();
        answer.try_recv().unwrap()
    }

    fn look(&mut self, what: &str) -> String {
        let (reply, mut answer) = oneshot::channel();
        self.of(what).query(what.to_owned(), None, reply).unwrap();
        self.settle();
        String::from_utf8(answer.try_recv().unwrap().unwrap().to_vec()).unwrap()
    }

    fn balances(&mut self) -> [i64; 3] {
        ["ada", "ben", "carl"].map(|account| self.look(account).parse().unwrap())
    }

    fn begin(&mut self, kind: Kind, amount: i64) {
        self.ask("t", Ask::Begin("t", Transfer { kind, amount })).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.keyspaces.close();
    }
}

/// What a log in memory answers at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_saga_goes_on_with_other_masters_wherever_it_was() {
    let mut ends = Vec::new();
    for polls in 0..30 {
        let mut world = World::new(100_000);
        let begin = Ask::Begin("t", Transfer { kind: Kind::Plain, amount: 30 });
        world.of("t").command(begin, None, None, None).unwrap();
        for poll in 0..polls {
            let nodes = world.nodes.len();
            let _ = world.nodes[poll % nodes].0.poll(&mut Context::from_waker(Waker::noop()));
        }
        // What they knew is gone, but for the log.
        world.start();
        ends.push((world.look("t"), world.balances()));
    }
    let never = ("0".to_owned(), [2000, 0, 0]);
    let done = ("Committed(1970)".to_owned(), [1970, 30, 0]);
    let begun = ends.iter().position(|end| *end == done).unwrap();
    assert!(begun > 0 && ends[..begun].iter().all(|end| *end == never), "{ends:?}");
    assert!(ends[begun..].iter().all(|end| *end == done), "{ends:?}");
}

#[test]
fn a_function_that_panics_is_stuck_and_goes_on_when_it_is_mended() {
    let mut world = World::new(100_000);
    set_broken(Kind::Panics, true);
    world.begin(Kind::Panics, 30);
    assert_eq!(world.look("t"), r#"Stuck { reason: "its handler panicked" }"#);
    set_broken(Kind::Panics, false);
    world.ask("t", Ask::Resume("t", Resume::Again)).unwrap();
    assert_eq!(world.look("t"), "Committed(1970)");
    assert_eq!(world.balances(), [1970, 30, 0]);
}

#[test]
fn a_step_that_cannot_be_sent_undoes_those_before() {
    let mut world = World::new(100_000);
    world.begin(Kind::Nowhere, 30);
    assert_eq!(world.look("t"), r#"Compensated { reason: "there is no such keyspace", left: 0 }"#);
    assert_eq!(world.balances(), [2000, 0, 0]);
}

#[test]
fn a_saga_that_is_too_long_is_stuck() {
    let mut world = World::new(5_000);
    world.begin(Kind::Long, LONG);
    let stuck = world.look("t");
    assert!(stuck.contains("Stuck") && stuck.contains("to write"), "{stuck}");
    let Err(Failure::Handler(BankError::NotResumed(NotResumed(why)))) =
        world.ask("t", Ask::Resume("t", Resume::Again))
    else {
        panic!("it goes on without what it needs");
    };
    assert!(why.contains("too long"), "{why}");
    world.ask("t", Ask::Resume("t", Resume::Leave)).unwrap();
    assert!(world.look("t").contains("left: 1"), "{}", world.look("t"));
    assert_eq!(world.balances(), [2000, 1000, 0]);
}

#[test]
fn a_saga_that_no_answer_would_find_does_not_begin() {
    let mut world = World::new(100_000);
    let refused = world.ask("x", Ask::BeginStrange);
    assert!(matches!(refused, Err(Failure::Invalid(why)) if why.contains("sagas")), "{refused:?}");
}

/// Its code changes at any moment, and changes back.
#[test]
fn a_saga_whose_code_takes_other_steps_than_before_is_undone_or_stuck() {
    let mut ends = BTreeSet::new();
    for polls in 0..16 {
        let mut world = World::new(100_000);
        let begin = Ask::Begin("t", Transfer { kind: Kind::Changes, amount: 30 });
        world.of("t").command(begin, None, None, None).unwrap();
        for poll in 0..polls {
            let nodes = world.nodes.len();
            let _ = world.nodes[poll % nodes].0.poll(&mut Context::from_waker(Waker::noop()));
        }
        set_broken(Kind::Changes, polls > 0);
        world.settle();
        let end = world.look("t");
        set_broken(Kind::Changes, false);
        if end.starts_with("Stuck") {
            assert_eq!(end, r#"Stuck { reason: "its function takes another step 0 than before" }"#);
            world.ask("t", Ask::Resume("t", Resume::Again)).unwrap();
        }
        let done = if world.look("t").starts_with("Committed") { 30 } else { 0 };
        assert_eq!(world.balances(), [2000 - done, done, 0], "after {polls} polls: {end}");
        ends.insert(end.split(' ').next().unwrap().to_owned());
    }
    assert!(ends.contains("Stuck"), "{ends:?}");
}

#[test]
fn a_saga_leaves_room_in_its_record_to_say_that_it_is_stuck() {
    let mut begun = 0;
    for room in [40, 60, 80, 100, 150, 1_000, 2_000, 2_100, 2_120, 2_140, 2_200, 3_000, 6_000] {
        let mut world = World::new(WIDE_BYTES + room);
        match world.ask("t", Ask::Begin("t", Transfer { kind: Kind::Wide, amount: 30 })) {
            Ok(_) => begun += 1,
            Err(failure) => {
                assert!(matches!(failure, Failure::TooLarge { .. }), "{failure:?}");
                continue;
            }
        }
        let end = world.look("t");
        let done = i64::from(end.starts_with("Committed")) * 30;
        assert!(done > 0 || end.starts_with("Stuck") || end.starts_with("Compensated"), "{room}: {end}");
        if !end.starts_with("Stuck") {
            assert_eq!(world.balances(), [2000 - done, done, 0], "{room}: {end}");
        }
    }
    assert!(begun > 2);
}

#[test]
fn a_saga_that_never_gives_up_is_undone_when_it_has_taken_too_many_steps() {
    let (mut harness, first) = begun(Kind::Insists);
    let mut step = sent(harness.answer(&first, &70i64));
    for _ in 2..SAGA_STEPS_MAX {
        step = sent(harness.refuse(&step, "poor"));
        assert_eq!(told(&step), ("ben", -30));
    }
    assert_eq!(told(&sent(harness.refuse(&step, "poor"))), ("ada", 30));
    assert_eq!(
        state(&harness, "t"),
        Some(SagaState::Compensating { reason: format!("a saga takes {SAGA_STEPS_MAX} steps at most") })
    );
}

#[test]
fn a_saga_that_never_gives_up_is_stuck_when_its_record_is_full() {
    let mut world = World::new(4_000);
    world.begin(Kind::Insists, 30);
    (0..20).for_each(|_| world.settle());
    let stuck = world.look("t");
    assert!(stuck.contains("Stuck") && stuck.contains("to write"), "{stuck}");
}
