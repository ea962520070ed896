//! What compaction and restarts leave of requests, deletions and attributes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use affinity_log::embedded::EmbeddedLog;
use affinity_log::{Cleanup, Log, TopicPartition, next_batch};
use affinity_types::{
    Attributes, Clock, EventTime, Group, InputPosition, Key, ManualClock, Offset, Record, Request, RequestId,
};

use super::owner::{Owner, create, newest, open_at, read, record};

const WINDOW_MS: u64 = 60_000;
const RETENTION_MS: u64 = 600_000;

/// A log whose clock is moved by hand, opened again and again under the next epoch.
struct Life<'a> {
    folder: &'a Path,
    clock: Arc<ManualClock>,
    epoch: u64,
}

impl Life<'_> {
    fn new(folder: &Path) -> Life<'_> {
        Life { folder, clock: Arc::new(ManualClock::at(EventTime(1_000_000))), epoch: 0 }
    }

    async fn open(&mut self) -> (EmbeddedLog, TopicPartition, Owner) {
        self.epoch += 1;
        let log = open_at(self.folder, &self.clock);
        let cleanup = Cleanup::Compact {
            delete_retention: Duration::from_millis(RETENTION_MS),
            request_window: Duration::from_millis(WINDOW_MS),
        };
        let place = create(&log, 1, cleanup).await.remove(0);
        let owner = Owner::take_over_at(&log, &place, self.epoch, self.clock.now()).await;
        (log, place, owner)
    }
}

fn answering(group: Group, n: u64) -> Group {
    let id = RequestId { client: 9, sequence: n, issued: None };
    let request = Some(Request { id, hash: n, result: format!("answer {n}").into() });
    Group { attributes: Attributes { request, positions: Vec::new() }, ..group }
}

/// The requests that are remembered.
async fn requests(log: &EmbeddedLog, place: &TopicPartition) -> Vec<u64> {
    let end = log.bounds(place).await.unwrap().end;
    let mut tail = log.tail(place, Offset::ZERO).await.unwrap();
    let mut found = Vec::new();
    loop {
        let batch = next_batch(&mut *tail).await.unwrap();
        let requests = batch.groups().filter_map(|group| group.attributes().unwrap().request);
        found.extend(requests.map(|request| request.id.sequence));
        if batch.next() >= end {
            return found;
        }
    }
}

/// Overwrites enough for several passes.
async fn churn(log: &EmbeddedLog, owner: &mut Owner, time: EventTime) {
    owner.time = time;
    for n in 0..600 {
        owner.send(&format!("k{}", n % 30), vec![7; 1_500]).await;
    }
    owner.settle().await;
    log.compact().unwrap();
}

#[tokio::test]
async fn requests_survive_compaction_and_restart_within_their_window_and_go_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = Life::new(folder.path());
    let (log, place, mut owner) = life.open().await;
    for n in 0..20 {
        let group = owner.group(vec![record(&format!("k{n}"), "superseded")]);
        owner.appended(&answering(group, n)).await;
    }
    churn(&log, &mut owner, life.clock.now()).await;
    assert_eq!(requests(&log, &place).await, (0..20).collect::<Vec<_>>());
    log.close();
    life.clock.advance_ms(WINDOW_MS - 1);
    let (log, place, mut owner) = life.open().await;
    churn(&log, &mut owner, life.clock.now()).await;
    assert_eq!(requests(&log, &place).await, (0..20).collect::<Vec<_>>(), "at the window's end");
    log.close();
    life.clock.advance_ms(2);
    let (log, place, mut owner) = life.open().await;
    churn(&log, &mut owner, life.clock.now()).await;
    assert_eq!(requests(&log, &place).await, Vec::<u64>::new(), "after it");
}

#[tokio::test]
async fn deletions_survive_compaction_and_restart_within_their_retention_and_go_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = Life::new(folder.path());
    let (log, place, mut owner) = life.open().await;
    let deletion = |n: i32| Record::new(Key::copy_from(format!("gone{n}").as_bytes()), None);
    for n in 0..20 {
        owner.put(&format!("gone{n}"), "value").await;
    }
    churn(&log, &mut owner, life.clock.now()).await;
    for n in 0..20 {
        let group = owner.group(vec![deletion(n)]);
        owner.appended(&group).await;
    }
    churn(&log, &mut owner, life.clock.now()).await;
    log.close();
    life.clock.advance_ms(RETENTION_MS - 1);
    let (log, place_again, mut owner) = life.open().await;
    churn(&log, &mut owner, life.clock.now()).await;
    let found = newest(&read(&log, &place).await);
    assert!((0..20).all(|n| found[&format!("gone{n}")].is_none()), "within their time deletions are there");
    log.close();
    life.clock.advance_ms(2);
    let (log, place, mut owner) = life.open().await;
    churn(&log, &mut owner, life.clock.now()).await;
    let found = newest(&read(&log, &place).await);
    assert!(
        (0..20).all(|n| !found.contains_key(&format!("gone{n}"))),
        "after it neither value nor deletion is"
    );
    assert_eq!(place, place_again);
}

#[tokio::test]
async fn the_newest_group_keeps_its_attributes_through_compaction_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = Life::new(folder.path());
    let (log, place, mut owner) = life.open().await;
    churn(&log, &mut owner, life.clock.now()).await;
    let positions = vec![InputPosition { input: "in".into(), offset: Offset(77) }];
    let group = owner.group(vec![Record::new(Key::from_static(b"k1"), None)]);
    let group = Group { attributes: Attributes { request: None, positions }, ..group };
    owner.appended(&group).await;
    log.compact().unwrap();
    log.close();
    for round in 0..3 {
        // Its only record is a deletion whose time is over.
        life.clock.advance_ms(2 * RETENTION_MS);
        let log = open_at(folder.path(), &life.clock);
        log.compact().unwrap();
        let end = log.bounds(&place).await.unwrap().end;
        let mut tail = log.tail(&place, Offset(end.0 - 1)).await.unwrap();
        let batch = next_batch(&mut *tail).await.unwrap();
        let last = batch.groups().next_back().unwrap();
        assert_eq!(last.version(), group.version, "round {round}");
        assert_eq!(last.attributes().unwrap(), group.attributes);
        log.close();
    }
}
