//! The window of request ids with a store on disk: what a restart finds of it.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::path::Path;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_log::memory::MemoryLog;
use affinity_log::{Cleanup, Log, Tail, TopicPartition, TopicSpec};
use affinity_memstore::{Disk, DiskSettings, Facts, Limits, MemStore};
use affinity_state::{KeepRequests, Known, Own, RequestSettings, State, StoreNames};
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Key, Offset, PartitionId, Record, Request, RequestId,
};
use affinity_types::{Sequence, TopicId, Version};
use bytes::Bytes;

const TOPIC: TopicId = TopicId(7);
const WINDOW_MS: u64 = 600_000;
const BEGIN: i64 = 1_700_000_000_000;

/// A partition whose store lies in a folder. Its clock moves by a second with each request.
struct Node<'a> {
    folder: &'a Path,
    entries: usize,
    state: State,
    /// How many requests there were.
    count: u64,
}

fn time(n: u64) -> EventTime {
    EventTime(BEGIN).plus_ms(n * 1000)
}

fn request(n: u64) -> Request {
    let id = RequestId { client: 1, sequence: n, issued: Some(time(n)) };
    Request { id, hash: n, result: Bytes::from(n.to_string()) }
}

fn version(n: u64) -> Version {
    Version::new(Epoch(1), Sequence(n))
}

fn store(folder: &Path) -> Box<dyn MemStore> {
    let (disk, _) = Disk::open(folder, DiskSettings::default()).unwrap();
    let (end, now) = (Offset(u64::MAX), EventTime(0));
    let facts = Facts { topic: TOPIC, start: Offset(0), end, now, delete_retention: None };
    Box::new(disk.open_store("p.0", Limits::default(), &facts).unwrap().store)
}

fn open(folder: &Path, entries: usize, keep: KeepRequests) -> State {
    let settings = RequestSettings { request_window_entries: entries, ..RequestSettings::default() };
    State::open(store(folder), StoreNames::new(&["main"], 2), TOPIC, settings, keep).unwrap()
}

/// A group of a record at `offset`.
fn own(offset: u64, time: EventTime, request: Option<&Request>) -> Own<'_> {
    let (first, next, version) = (Offset(offset), Offset(offset + 1), version(offset));
    Own { first, next, version, time, changes: &[], repairs: &[], request }
}

impl<'a> Node<'a> {
    fn new(folder: &'a Path, entries: usize) -> Node<'a> {
        Node { folder, entries, state: open(folder, entries, KeepRequests::InStore), count: 0 }
    }

    /// Closes the store, and begins again with what is in it.
    fn restart(self, keep: KeepRequests) -> Node<'a> {
        let Node { folder, entries, count, state } = self;
        drop(state);
        Node { folder, entries, state: open(folder, entries, keep), count }
    }

    /// Acknowledges so many requests of one's own, all at once.
    fn ask(&mut self, count: u64) {
        let requests: Vec<Request> = (self.count..self.count + count).map(request).collect();
        let groups: Vec<Own<'_>> = (self.state.next().0..)
            .zip(&requests)
            .map(|(offset, request)| own(offset, time(request.id.sequence), Some(request)))
            .collect();
        self.state.apply_own(&groups).unwrap();
        self.count += count;
    }

    /// A batch that does nothing.
    fn rest(&mut self) {
        self.state.skip_to(self.state.next().advance(1)).unwrap();
    }

    fn known(&self, n: u64) -> Known {
        self.state.requests().look_up(&request(n).id, n, time(self.count))
    }

    /// Sees that requests up to `last` are expired and those behind it answered.
    fn check(&self, last: u64) {
        for n in 0..self.count {
            let expected = if n <= last { Known::Expired } else { Known::Answered(n.to_string().into()) };
            assert_eq!(self.known(n), expected, "request {n} of {}", self.count);
        }
    }

    fn stored(&self) -> usize {
        self.state.memstore().requests().unwrap().len()
    }
}

#[test]
fn a_request_that_size_evicted_is_expired_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::new(dir.path(), 10);
    for (count, stored) in [(25, 25), (1, 11), (1, 11), (7, 17), (40, 50), (3, 13)] {
        node.ask(count);
        let last = node.count - 11;
        node.check(last);
        assert_eq!(node.stored(), stored, "what the batch evicts goes with the next one");
        node = node.restart(KeepRequests::InStore);
        node.check(last);
        assert_eq!(node.state.requests().len(), 10);
        node.rest();
        assert_eq!(node.stored(), 10);
        node = node.restart(KeepRequests::InStore);
        node.check(last);
    }
}

#[test]
fn a_request_that_time_evicted_is_expired_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::new(dir.path(), 100);
    node.ask(50);
    // Issued by a clock that is ahead as far as it may be: the window's time alone would take it for new.
    let ahead = RequestId { issued: Some(time(50).plus_ms(5_000)), ..request(50).id };
    let first = Request { id: ahead, ..request(50) };
    node.state.apply_own(&[own(50, time(50), Some(&first))]).unwrap();
    let now = time(50).plus_ms(WINDOW_MS + 1);
    node.state.evict_requests(now);
    assert!(node.state.requests().is_empty());
    node.rest();
    assert_eq!(node.stored(), 0);
    let node = node.restart(KeepRequests::InStore);
    assert_eq!(node.state.requests().look_up(&ahead, 50, now), Known::Expired);
    let issued = |ms| RequestId { issued: Some(time(50).plus_ms(ms)), sequence: 999, client: 9 };
    let known = |ms| node.state.requests().look_up(&issued(ms), 0, time(51));
    assert_eq!((known(5_000), known(5_001)), (Known::Expired, Known::New), "the floor itself came back");
}

#[test]
fn the_time_of_the_log_evicts_few_at_a_time_from_store_and_window() {
    const MANY: u64 = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::new(dir.path(), 10_000);
    let all: Vec<Request> = (0..MANY).map(request).collect();
    let groups: Vec<Own<'_>> = (0..).zip(&all).map(|(n, request)| own(n, time(0), Some(request))).collect();
    node.state.apply_own(&groups).unwrap();
    let late = time(0).plus_ms(WINDOW_MS + 1);
    let mut sizes = Vec::new();
    for n in MANY..MANY + 6 {
        node.state.apply_own(&[own(n, late, None)]).unwrap();
        // Looking up adds nothing to what a batch has evicted.
        (0..9).for_each(|_| node.state.evict_requests(late));
        sizes.push((node.state.requests().len(), node.stored()));
        assert_eq!(node.state.requests().look_up(&request(0).id, 0, late), Known::Expired);
    }
    assert_eq!(sizes, [(3976, 5000), (2952, 3976), (1928, 2952), (904, 1928), (0, 904), (0, 0)]);
    let node = node.restart(KeepRequests::InStore);
    assert_eq!(node.state.requests().look_up(&request(0).id, 0, late), Known::Expired);
}

#[test]
fn a_store_without_the_window_takes_nothing_of_its_time_for_new() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::new(dir.path(), 100);
    node.ask(10);
    node = node.restart(KeepRequests::InWindow);
    assert_eq!(node.known(9), Known::Answered("9".into()));
    node.ask(10);
    for _ in 0..2 {
        node = node.restart(KeepRequests::InStore);
        for n in 10..20 {
            assert_eq!(node.known(n), Known::Expired, "request {n} may have been applied");
        }
        let later = RequestId { issued: Some(time(19).plus_ms(5_001)), ..request(20).id };
        assert_eq!(node.state.requests().look_up(&later, 0, time(25)), Known::New);
        // From here on the store says what the floor is.
        node.rest();
    }
}

/// A future that is ready at once, as those of a log in memory are.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a log in memory does not wait"),
    }
}

fn read(tail: &mut dyn Tail) -> affinity_log::Batch {
    match tail.poll_batch(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(batch) => batch.unwrap(),
        Poll::Pending => panic!("nothing more to read"),
    }
}

#[test]
fn one_who_reads_the_log_forgets_as_the_one_who_writes_it() {
    let log = MemoryLog::default();
    ready(log.create_topic("t", TopicSpec { partitions: 1, cleanup: Cleanup::default() })).unwrap();
    let place = TopicPartition::new("t", PartitionId(0));
    let (writes, reads) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut writer, mut reader) = (Node::new(writes.path(), 400), Node::new(reads.path(), 400));
    // Both limits at once: 400 requests are less than the 600 that the window's time holds, until it jumps.
    for (count, jump) in [(300, 0), (500, 0), (200, 700), (150, 0)] {
        writer.count += jump;
        let offset = writer.state.next().0;
        let requests: Vec<Request> = (writer.count..writer.count + count).map(request).collect();
        let groups: Vec<Own<'_>> = (offset..)
            .zip(&requests)
            .map(|(n, request)| own(n, time(request.id.sequence), Some(request)))
            .collect();
        for group in &groups {
            let attributes = Attributes { request: group.request.cloned(), ..Attributes::default() };
            let records = vec![Record::new(Key::new(Bytes::from_static(b"k")), None)];
            let group = Group { version: group.version, time: group.time, attributes, records };
            log.zombie(&place, &group).unwrap();
        }
        writer.state.apply_own(&groups).unwrap();
        writer.count += count;
        let mut tail = ready(log.tail(&place, reader.state.next())).unwrap();
        while reader.state.next() < writer.state.next() {
            reader.state.apply(&read(&mut *tail), Duration::ZERO, |_| ()).unwrap();
        }
        reader.count = writer.count;
        reader = reader.restart(KeepRequests::InStore);
        reader.state.evict_requests(reader.state.time());
        writer.state.evict_requests(writer.state.time());
        assert_eq!(reader.state.requests().len(), writer.state.requests().len());
        for n in 0..writer.count {
            assert_eq!(reader.known(n), writer.known(n), "request {n}");
        }
        assert!(reader.stored() <= 400 + 500, "the window and a batch");
    }
}
