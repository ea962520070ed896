//! Each fault of the memory backend, and the calls that it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use affinity_cluster::memory::{CallView, Delivery, Fault, MemoryCoordinator, Request, Stage};
use affinity_cluster::{
    AttemptId, BoxFuture, Cas, Coordinator, Error, ErrorKind, Mastership, NodeId, PartitionName, Revision,
    Seen, resolve, settled,
};
use affinity_types::{Epoch, PartitionId};

/// Tells whether it was woken.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn poll<T>(future: &mut BoxFuture<'_, T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// The value of a future that must be ready.
fn now<T>(future: impl Future<Output = T> + Send) -> T {
    poll(&mut (Box::pin(future) as BoxFuture<'_, T>)).expect("it does not wait")
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn bank() -> PartitionName {
    PartitionName::new("bank", PartitionId(3))
}

fn mastership(epoch: u64, attempt: u128) -> Mastership {
    Mastership { epoch: Epoch(epoch), owner: Some(NodeId::new("node")), attempt: AttemptId(attempt) }
}

fn seen(epoch: u64, attempt: u128, revision: u64) -> Seen {
    Seen { mastership: mastership(epoch, attempt), revision: Revision(revision) }
}

fn take(coordinator: &MemoryCoordinator, expected: u64, epoch: u64, attempt: u128) -> Result<Cas, Error> {
    now(coordinator.compare_and_set(&bank(), Revision(expected), mastership(epoch, attempt)))
}

fn stages(coordinator: &MemoryCoordinator) -> Vec<Stage> {
    coordinator.held().iter().map(|call| call.stage).collect()
}

#[test]
fn unavailable_calls_do_nothing() {
    let coordinator = MemoryCoordinator::new();
    coordinator.fail_calls(3);
    assert_eq!(kind(take(&coordinator, 0, 1, 1)), ErrorKind::Unavailable);
    assert_eq!(kind(now(coordinator.read(&bank()))), ErrorKind::Unavailable);
    coordinator.deliver(Delivery::Manual);
    assert_eq!(kind(take(&coordinator, 0, 1, 1)), ErrorKind::Unavailable, "at once, though calls are held");
    coordinator.deliver(Delivery::Automatic);
    assert_eq!(now(coordinator.read(&bank())).unwrap(), Seen::default());
    coordinator.fail_calls(9);
    coordinator.fail_calls(0);
    assert_eq!(take(&coordinator, 0, 1, 1).unwrap(), Cas::Won(Revision(1)));
}

#[test]
fn a_lost_answer_was_done_and_a_lost_request_was_not() {
    let check = |fault: Fault, expected: Seen| {
        let coordinator = MemoryCoordinator::new();
        coordinator.inject(fault);
        assert_eq!(kind(take(&coordinator, 0, 1, 1)), ErrorKind::Unknown);
        assert_eq!(now(coordinator.read(&bank())).unwrap(), expected, "{fault:?}");
        let won = now(resolve(&coordinator, &bank(), Revision(0), &mastership(1, 1))).unwrap();
        assert_eq!(won, Cas::Won(Revision(1)), "{fault:?}");
    };
    check(Fault::AnswerLost, seen(1, 1, 1));
    check(Fault::RequestLost, Seen::default());
    check(Fault::RequestDelayed, Seen::default());
}

#[test]
fn a_lost_answer_may_have_said_lost() {
    let coordinator = MemoryCoordinator::new();
    take(&coordinator, 0, 1, 1).unwrap();
    coordinator.inject(Fault::AnswerLost);
    assert_eq!(kind(take(&coordinator, 0, 1, 2)), ErrorKind::Unknown);
    let seen = now(coordinator.read(&bank())).unwrap();
    assert_eq!(settled(&seen, Revision(0), AttemptId(2)), Some(Cas::Lost(seen.clone())));
}

#[test]
fn a_delayed_request_is_done_later_or_never() {
    let delayed = || {
        let coordinator = MemoryCoordinator::new();
        coordinator.inject(Fault::RequestDelayed);
        assert_eq!(kind(take(&coordinator, 0, 1, 1)), ErrorKind::Unknown);
        assert_eq!(stages(&coordinator), [Stage::GivenUp]);
        let id = coordinator.held()[0].id;
        assert_eq!(settled(&coordinator.entry(&bank()), Revision(0), AttemptId(1)), None);
        (coordinator, id)
    };
    let (coordinator, id) = delayed();
    // The next one must not meet a fault: nobody waits for its answer.
    coordinator.inject(Fault::RequestLost);
    assert!(!coordinator.answer(id), "nobody waits");
    assert!(coordinator.perform(id) && !coordinator.perform(id));
    assert_eq!(coordinator.entry(&bank()), seen(1, 1, 1));

    let (coordinator, id) = delayed();
    assert!(coordinator.discard(id) && !coordinator.discard(id) && !coordinator.perform(id));
    assert_eq!(coordinator.entry(&bank()), Seen::default());

    let (coordinator, id) = delayed();
    take(&coordinator, 0, 1, 2).unwrap();
    assert!(coordinator.perform(id), "it comes too late");
    assert_eq!(coordinator.entry(&bank()), seen(1, 2, 1));
}

#[test]
fn an_attempt_stays_unknown_until_it_is_settled() {
    let coordinator = MemoryCoordinator::new();
    coordinator.inject(Fault::AnswerLost);
    coordinator.inject(Fault::RequestLost);
    assert_eq!(kind(take(&coordinator, 0, 1, 1)), ErrorKind::Unknown);
    let again = || now(resolve(&coordinator, &bank(), Revision(0), &mastership(1, 1)));
    assert_eq!(kind(again()), ErrorKind::Unknown);
    coordinator.fail_calls(1);
    assert_eq!(
        kind(again()),
        ErrorKind::Unknown,
        "that the repetition was not done says nothing of the first"
    );
    assert_eq!(again().unwrap(), Cas::Won(Revision(1)));
    take(&coordinator, 1, 2, 2).unwrap();
    assert_eq!(again().unwrap(), Cas::Lost(seen(2, 2, 2)), "won, and lost again since");
}

#[test]
fn a_held_call_is_performed_and_answered_by_hand() {
    let coordinator = MemoryCoordinator::new();
    coordinator.deliver(Delivery::Manual);
    let (bank, bell) = (bank(), Arc::new(Bell::default()));
    let mut call = coordinator.compare_and_set(&bank, Revision(0), mastership(1, 1));
    assert!(coordinator.held().is_empty(), "a call begins when it is first polled");
    assert!(call.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&bell)))).is_pending());
    let view = now(coordinator.arrival());
    let request = Request::CompareAndSet { expected: Revision(0), new: mastership(1, 1) };
    let expected = CallView { id: view.id, partition: bank.clone(), request, stage: Stage::OnTheWay };
    assert_eq!((&view, coordinator.held()), (&expected, vec![expected.clone()]));

    assert!(coordinator.perform(view.id) && !coordinator.perform(view.id));
    assert_eq!((coordinator.entry(&bank), stages(&coordinator)), (seen(1, 1, 1), vec![Stage::Performed]));
    assert!(!bell.0.load(Ordering::SeqCst), "its caller does not know");
    assert!(!coordinator.discard(view.id), "it was done");
    assert!(coordinator.answer(view.id) && !coordinator.answer(view.id));
    assert!(bell.0.load(Ordering::SeqCst));
    assert_eq!(poll(&mut call).unwrap().unwrap(), Cas::Won(Revision(1)));
    assert!(coordinator.held().is_empty());
}

#[test]
fn a_read_tells_what_was_there_when_it_was_performed() {
    let coordinator = MemoryCoordinator::new();
    coordinator.deliver(Delivery::Manual);
    let bank = bank();
    let mut calls = [coordinator.read(&bank), coordinator.read(&bank)];
    assert!(calls.iter_mut().all(|call| poll(call).is_none()));
    let ids: Vec<_> = coordinator.held().iter().map(|call| call.id).collect();
    coordinator.perform(ids[0]);
    coordinator.restore(&bank, seen(4, 7, 9));
    // The second one is answered first.
    assert!(coordinator.answer(ids[1]) && coordinator.answer(ids[0]));
    let read = calls.map(|mut call| poll(&mut call).unwrap().unwrap());
    assert_eq!(read, [Seen::default(), seen(4, 7, 9)]);
}

#[test]
fn a_caller_who_gives_up_leaves_its_compare_and_set_on_the_way() {
    let bank = bank();
    let manual = || {
        let coordinator = MemoryCoordinator::new();
        coordinator.deliver(Delivery::Manual);
        coordinator
    };
    let coordinator = manual();
    let mut calls =
        (coordinator.read(&bank), coordinator.compare_and_set(&bank, Revision(0), mastership(1, 1)));
    assert!(poll(&mut calls.0).is_none() && poll(&mut calls.1).is_none());
    drop(calls);
    assert_eq!(stages(&coordinator), [Stage::GivenUp], "of a read nothing is left");
    assert!(coordinator.perform(coordinator.held()[0].id));
    assert_eq!((coordinator.entry(&bank), coordinator.held()), (seen(1, 1, 1), vec![]));

    let coordinator = manual();
    let mut call = coordinator.compare_and_set(&bank, Revision(0), mastership(1, 1));
    assert!(poll(&mut call).is_none());
    let id = coordinator.held()[0].id;
    assert!(coordinator.lose(id) && !coordinator.lose(id));
    assert_eq!(stages(&coordinator), [Stage::GivenUp]);
    assert_eq!(kind(poll(&mut call).unwrap()), ErrorKind::Unknown);
    assert!(coordinator.perform(id));
    assert_eq!((coordinator.entry(&bank), coordinator.held()), (seen(1, 1, 1), vec![]));
}

#[test]
fn a_lost_or_discarded_call_ends_for_its_caller() {
    let bank = bank();
    let check = |lose: bool, read: bool, perform: bool, expected: ErrorKind| {
        let coordinator = MemoryCoordinator::new();
        coordinator.deliver(Delivery::Manual);
        let mut call: BoxFuture<'_, Result<(), Error>> = if read {
            Box::pin(async { coordinator.read(&bank).await.map(drop) })
        } else {
            Box::pin(async {
                coordinator.compare_and_set(&bank, Revision(0), mastership(1, 1)).await.map(drop)
            })
        };
        assert!(poll(&mut call).is_none());
        let id = coordinator.held()[0].id;
        assert_eq!(perform, perform && coordinator.perform(id));
        assert!(if lose { coordinator.lose(id) } else { coordinator.discard(id) });
        assert_eq!(kind(poll(&mut call).unwrap()), expected, "lose {lose}, read {read}, perform {perform}");
        drop(call);
        let left = if lose && !read && !perform { vec![Stage::GivenUp] } else { vec![] };
        assert_eq!(stages(&coordinator), left, "lose {lose}, read {read}, perform {perform}");
    };
    check(true, false, false, ErrorKind::Unknown);
    check(true, false, true, ErrorKind::Unknown);
    check(true, true, false, ErrorKind::Unavailable);
    check(true, true, true, ErrorKind::Unavailable);
    check(false, false, false, ErrorKind::Unavailable);
    check(false, true, false, ErrorKind::Unavailable);
}

#[test]
fn going_over_to_automatic_answers_all_who_wait() {
    let coordinator = MemoryCoordinator::new();
    coordinator.deliver(Delivery::Manual);
    let bank = bank();
    let calls =
        [1, 2, 3].map(|attempt| coordinator.compare_and_set(&bank, Revision(0), mastership(1, attempt)));
    let [mut first, mut second, mut third] = calls;
    assert!(poll(&mut first).is_none() && poll(&mut second).is_none() && poll(&mut third).is_none());
    drop(first);
    coordinator.deliver(Delivery::Automatic);
    assert_eq!(poll(&mut second).unwrap().unwrap(), Cas::Won(Revision(1)), "the first was given up");
    assert_eq!(poll(&mut third).unwrap().unwrap(), Cas::Lost(seen(1, 2, 1)));
    assert_eq!(stages(&coordinator), [Stage::GivenUp]);
}

#[test]
fn who_waits_for_an_arrival_is_woken() {
    let coordinator = MemoryCoordinator::new();
    coordinator.deliver(Delivery::Manual);
    let (bank, bell) = (bank(), Arc::new(Bell::default()));
    let mut arrival = Box::pin(coordinator.arrival());
    assert!(arrival.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&bell)))).is_pending());
    let mut call = coordinator.read(&bank);
    assert!(poll(&mut call).is_none() && bell.0.load(Ordering::SeqCst));
    assert_eq!(now(arrival).request, Request::Read);
}

#[test]
fn lost_data_bring_the_same_revisions_again() {
    let coordinator = MemoryCoordinator::new();
    take(&coordinator, 0, 1, 1).unwrap();
    let backup = coordinator.entry(&bank());
    take(&coordinator, 1, 2, 2).unwrap();
    coordinator.restore(&bank(), backup);
    assert_eq!(take(&coordinator, 1, 2, 3).unwrap(), Cas::Won(Revision(2)), "epoch 2 once more");
    coordinator.wipe(&bank());
    assert_eq!(now(coordinator.read(&bank())).unwrap(), Seen::default());
    assert_eq!(take(&coordinator, 0, 1, 4).unwrap(), Cas::Won(Revision(1)));
}

#[test]
fn a_clone_is_another_handle() {
    let coordinator = MemoryCoordinator::new();
    let other = coordinator.clone();
    take(&coordinator, 0, 1, 1).unwrap();
    assert_eq!(other.entry(&bank()), seen(1, 1, 1));
    assert_eq!(MemoryCoordinator::new().entry(&bank()), Seen::default());
}
