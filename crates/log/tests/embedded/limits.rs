//! What the log takes at once.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use affinity_log::embedded::{EmbeddedLog, EmbeddedOptions};
use affinity_log::{AppendError, Log, Outcome, TopicPartition, next_ack, ready};
use affinity_types::{Group, SystemClock};

use super::owner::{Owner, compacted, create, options, read, record};

async fn open_with(folder: &Path, options: EmbeddedOptions) -> (EmbeddedLog, TopicPartition, Owner) {
    let log = EmbeddedLog::open(folder, options, Arc::new(SystemClock)).unwrap();
    let place = create(&log, 1, compacted()).await.remove(0);
    let owner = Owner::take_over(&log, &place, 1).await;
    (log, place, owner)
}

#[tokio::test]
async fn a_group_over_the_limit_is_refused_at_once_and_the_writer_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (log, place, mut owner) =
        open_with(folder.path(), EmbeddedOptions { group_bytes_max: 10_000, ..options() }).await;
    assert_eq!(log.limits().group_bytes_max, 10_000);
    let group = owner.group(vec![record("k", vec![7; 10_000])]);
    assert_eq!(owner.writer.append(&group), Err(AppendError::TooLarge { bytes: 10_001, max: 10_000 }));
    assert_eq!(owner.put("k", vec![7; 9_999]).await.0, 1);
    assert_eq!(read(&log, &place).await.len(), 2);
}

#[tokio::test]
async fn a_group_of_tiny_records_is_refused_if_its_encoding_is_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let smallest = EmbeddedOptions { segment_bytes: 64 << 10, group_bytes_max: 16 << 10, ..options() };
    let (log, place, mut owner) = open_with(folder.path(), smallest).await;
    let tiny = |count| vec![record("", ""); count];
    let group = owner.group(tiny(Group::RECORDS_MAX));
    assert!(group.payload_bytes() < 100, "as the limit counts it is small");
    assert!(matches!(owner.writer.append(&group), Err(AppendError::TooLarge { bytes: 32_769.., .. })));
    // The longest that are taken, and what is read of them.
    for count in [6_000, 6_500, 6_000] {
        let group = owner.group(tiny(count));
        owner.appended(&group).await;
    }
    owner.put("end", "value").await;
    log.compact().unwrap();
    assert_eq!(read(&log, &place).await.last().unwrap().key, "end");
}

#[tokio::test]
async fn a_writer_with_as_many_groups_in_flight_as_allowed_is_full_until_an_outcome_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (_log, _, mut owner) =
        open_with(folder.path(), EmbeddedOptions { in_flight_max: 3, ..options() }).await;
    for n in 0..3 {
        ready(&mut *owner.writer).await.unwrap();
        let group = owner.group(vec![record(&format!("k{n}"), "v")]);
        owner.writer.append(&group).unwrap();
    }
    let group = owner.group(vec![record("k4", "v")]);
    assert_eq!(owner.writer.append(&group), Err(AppendError::Full));
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(owner.writer.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    assert!(matches!(next_ack(&mut *owner.writer).await.outcome, Outcome::Appended { .. }));
    assert_eq!(wakes.count(), 1, "taking an outcome wakes who waits for room");
    assert!(owner.writer.poll_ready(&mut Context::from_waker(&waker)).is_ready());
    owner.writer.append(&group).unwrap();
    assert_eq!(owner.writer.in_flight(), 3);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Many writers against one limit on what waits: each is told that it is full, and woken when there is room.
#[tokio::test]
async fn writers_that_meet_the_limit_on_waiting_bytes_are_woken_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { pending_bytes_max: 4_000, ..options() };
    let log = EmbeddedLog::open(folder.path(), options, Arc::new(SystemClock)).unwrap();
    let places = create(&log, 8, compacted()).await;
    let mut owners = Vec::new();
    for place in &places {
        owners.push(Owner::take_over(&log, place, 1).await);
    }
    let mut full = 0;
    for n in 0..200 {
        for owner in &mut owners {
            let group = owner.group(vec![record(&format!("k{n}"), vec![7; 2_000])]);
            while let Err(error) = owner.writer.append(&group) {
                assert_eq!(error, AppendError::Full);
                full += 1;
                // No outcome is taken: room comes from the committer alone.
                ready(&mut *owner.writer).await.unwrap();
            }
        }
        for owner in &mut owners {
            owner.settle().await;
        }
    }
    assert!(full > 0, "the limit was met");
    for place in &places {
        assert_eq!(read(&log, place).await.len(), 201);
    }
}

#[tokio::test]
async fn the_writers_of_a_log_that_was_closed_are_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _, mut owner) = open_with(folder.path(), options()).await;
    let group = owner.group(vec![record("k", "v")]);
    owner.writer.append(&group).unwrap();
    log.close();
    assert!(matches!(next_ack(&mut *owner.writer).await.outcome, Outcome::Appended { .. }), "it was written");
    let group = owner.group(vec![record("k", "late")]);
    assert_eq!(owner.writer.append(&group), Err(AppendError::Lost));
    let room = poll_fn(|cx| Poll::Ready(owner.writer.poll_ready(cx))).await;
    assert!(room.is_ready(), "who waits for room does not wait for ever");
}
