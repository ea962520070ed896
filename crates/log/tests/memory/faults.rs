//! Each fault of the network, and what the contract makes of it.

use std::future::poll_fn;
use std::task::Poll;

use affinity_log::memory::{ChannelId, Delivery, Fate, Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{
    AppendError, Cleanup, Log, Outcome, TopicPartition, TopicSpec, Writer, next_ack, next_batch,
};
use affinity_types::control;
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Key, Offset, PartitionId, Record, Sequence, Version,
};

use super::block_on;

const NOW: EventTime = EventTime(1_700_000_000_000);

async fn log_with(fencing: Fencing, delivery: Delivery) -> (MemoryLog, TopicPartition) {
    let log = MemoryLog::new(MemoryOptions { fencing, delivery, ..MemoryOptions::default() });
    let spec = TopicSpec { partitions: 1, cleanup: Cleanup::default() };
    log.create_topic("t", spec).await.unwrap();
    (log, TopicPartition::new("t", PartitionId(0)))
}

async fn open(log: &MemoryLog, place: &TopicPartition, epoch: u64) -> (Box<dyn Writer>, ChannelId) {
    let writer = log.prepare(place).await.unwrap().open(Epoch(epoch)).await.unwrap();
    (writer, *log.channels(place).last().unwrap())
}

fn barrier(epoch: u64) -> Group {
    control::barrier_group(Epoch(epoch), NOW, 300, 1)
}

fn group(epoch: u64, sequence: u64) -> Group {
    let record = Record::new(Key::from_static(b"k"), Some(format!("{epoch}.{sequence}").into()));
    let version = Version::new(Epoch(epoch), Sequence(sequence));
    Group { version, time: NOW, attributes: Attributes::default(), records: vec![record.clone(), record] }
}

/// Opens a writer, and brings home its barrier.
async fn begin(log: &MemoryLog, place: &TopicPartition, epoch: u64) -> (Box<dyn Writer>, ChannelId) {
    let (mut writer, channel) = open(log, place, epoch).await;
    writer.append(&barrier(epoch)).unwrap();
    log.land(channel, 1);
    log.acknowledge(channel, 1);
    assert!(matches!(next_ack(&mut *writer).await.outcome, Outcome::Appended { .. }));
    (writer, channel)
}

/// The next outcome, if it was told.
async fn told(writer: &mut dyn Writer) -> Option<(u64, Outcome)> {
    let ack = poll_fn(|cx| Poll::Ready(writer.poll_ack(cx))).await;
    match ack {
        Poll::Ready(ack) => Some((ack.sequence.0, ack.outcome)),
        Poll::Pending => None,
    }
}

async fn end(log: &MemoryLog, place: &TopicPartition) -> u64 {
    log.bounds(place).await.unwrap().end.0
}

async fn versions(log: &MemoryLog, place: &TopicPartition) -> Vec<(u64, u64)> {
    let mut tail = log.tail(place, Offset::ZERO).await.unwrap();
    let batch = next_batch(&mut *tail).await.unwrap();
    batch.groups().map(|group| (group.version().epoch.0, group.version().sequence.0)).collect()
}

fn appended(first: u64, next: u64) -> Outcome {
    Outcome::Appended { first: Offset(first), next: Offset(next) }
}

#[test]
fn by_hand_nothing_moves_unless_told() {
    block_on(async {
        let (log, place) = log_with(Fencing::AtAppend, Delivery::Manual).await;
        let (mut writer, channel) = open(&log, &place, 1).await;
        let mut tail = log.tail(&place, Offset::ZERO).await.unwrap();
        for group in [barrier(1), group(1, 1), group(1, 2)] {
            writer.append(&group).unwrap();
        }
        assert_eq!(log.acknowledge(channel, 9), 0, "what has not landed cannot be acknowledged");
        assert_eq!((end(&log, &place).await, told(&mut *writer).await), (0, None));

        assert_eq!(log.land(channel, 2), 2);
        assert_eq!(end(&log, &place).await, 3, "readers see it before the writer hears of it");
        assert_eq!(next_batch(&mut *tail).await.unwrap().groups().len(), 2);
        assert_eq!(told(&mut *writer).await, None);
        let view = log.channel(channel).unwrap();
        assert_eq!((view.epoch, &view.place, view.on_the_way), (Epoch(1), &place, vec![Sequence(2)]));
        assert_eq!(
            view.due[1..],
            [(Sequence(1), Fate::Decided(appended(1, 3))), (Sequence(2), Fate::OnTheWay),]
        );

        assert_eq!(log.acknowledge(channel, 1), 1);
        assert_eq!(told(&mut *writer).await, Some((0, appended(0, 1))));
        assert_eq!((told(&mut *writer).await, writer.in_flight()), (None, 2));
        log.deliver(Delivery::Automatic);
        assert_eq!(told(&mut *writer).await, Some((1, appended(1, 3))));
        assert_eq!(told(&mut *writer).await, Some((2, appended(3, 5))));
        assert_eq!((told(&mut *writer).await, writer.in_flight()), (None, 0));
    });
}

#[test]
fn a_refusal_takes_all_that_was_decided_after_it() {
    for delivery in [Delivery::Automatic, Delivery::Manual] {
        block_on(async move {
            let (log, place) = log_with(Fencing::AtAppend, delivery).await;
            let (mut writer, channel) = begin(&log, &place, 1).await;
            log.inject(channel, Fault::Refuse);
            writer.append(&group(1, 1)).unwrap();
            writer.append(&group(1, 2)).unwrap();
            assert_eq!(log.land(channel, 9), 0);
            log.acknowledge(channel, 1);
            assert_eq!(told(&mut *writer).await, Some((1, Outcome::Refused)));
            // The owner has not taken the refusal of 2: what it decides now falls too.
            writer.append(&group(1, 3)).unwrap();
            log.acknowledge(channel, 9);
            assert_eq!(told(&mut *writer).await, Some((2, Outcome::Refused)));
            writer.append(&group(1, 4)).unwrap();
            log.acknowledge(channel, 9);
            assert_eq!(told(&mut *writer).await, Some((3, Outcome::Refused)));
            assert_eq!(told(&mut *writer).await, Some((4, Outcome::Refused)));
            assert_eq!(told(&mut *writer).await, None);
            // Now it knows all, and goes on under the same epoch.
            writer.append(&group(1, 5)).unwrap();
            log.land(channel, 1);
            log.acknowledge(channel, 1);
            assert_eq!(told(&mut *writer).await, Some((5, appended(1, 3))));
            assert_eq!(versions(&log, &place).await, [(1, 0), (1, 5)]);
        });
    }
}

#[test]
fn what_landed_before_a_refusal_stays() {
    block_on(async {
        let (log, place) = log_with(Fencing::AtAppend, Delivery::Manual).await;
        let (mut writer, channel) = begin(&log, &place, 1).await;
        writer.append(&group(1, 1)).unwrap();
        writer.append(&group(1, 2)).unwrap();
        assert_eq!(log.land(channel, 1), 1);
        log.inject(channel, Fault::Refuse);
        assert_eq!(log.land(channel, 1), 0);
        assert_eq!(log.acknowledge(channel, 9), 2);
        assert_eq!(told(&mut *writer).await, Some((1, appended(1, 3))));
        assert_eq!(told(&mut *writer).await, Some((2, Outcome::Refused)));
    });
}

#[test]
fn a_refused_barrier_is_sent_again() {
    block_on(async {
        let (log, place) = log_with(Fencing::AtAppend, Delivery::Automatic).await;
        let (mut writer, channel) = open(&log, &place, 1).await;
        log.inject(channel, Fault::Refuse);
        writer.append(&barrier(1)).unwrap();
        assert_eq!(told(&mut *writer).await, Some((0, Outcome::Refused)));
        assert!(matches!(writer.append(&group(1, 1)), Err(AppendError::Invalid(_))), "a barrier comes first");
        writer.append(&barrier(1)).unwrap();
        assert_eq!(told(&mut *writer).await, Some((0, appended(0, 1))));
    });
}

#[test]
fn a_lost_group_may_land_later_or_never() {
    for lands in [true, false] {
        block_on(async move {
            let (log, place) = log_with(Fencing::AtAppend, Delivery::Automatic).await;
            let (mut writer, channel) = begin(&log, &place, 1).await;
            log.inject(channel, Fault::LoseAppend);
            writer.append(&group(1, 1)).unwrap();
            assert_eq!(told(&mut *writer).await, Some((1, Outcome::Unknown)));
            assert_eq!(writer.append(&group(1, 2)), Err(AppendError::Lost));
            assert_eq!(poll_fn(|cx| writer.poll_ready(cx)).await, Err(AppendError::Lost));
            assert_eq!(end(&log, &place).await, 1);
            drop(writer);
            assert_eq!(log.channels(&place), [channel], "it is still on the way");
            assert_eq!(if lands { log.land(channel, 1) } else { log.discard(channel) }, 1);
            assert_eq!(end(&log, &place).await, if lands { 3 } else { 1 });
            assert!(log.channels(&place).is_empty() && log.channel(channel).is_none());
        });
    }
}

#[test]
fn a_lost_acknowledgement_leaves_the_group_in_the_log() {
    block_on(async {
        let (log, place) = log_with(Fencing::AtAppend, Delivery::Manual).await;
        let (mut writer, channel) = begin(&log, &place, 1).await;
        for sequence in 1..=3 {
            writer.append(&group(1, sequence)).unwrap();
        }
        assert_eq!(log.land(channel, 1), 1);
        log.acknowledge(channel, 1);
        log.inject(channel, Fault::LoseAck);
        assert_eq!(log.land(channel, 1), 1);
        // What it was told stays true; the rest is unknown, landed or not.
        assert_eq!(told(&mut *writer).await, Some((1, appended(1, 3))));
        assert_eq!(told(&mut *writer).await, Some((2, Outcome::Unknown)));
        assert_eq!(told(&mut *writer).await, Some((3, Outcome::Unknown)));
        assert_eq!(versions(&log, &place).await, [(1, 0), (1, 1), (1, 2)]);
        assert_eq!(log.land(channel, 9), 1);
        assert_eq!(versions(&log, &place).await.last(), Some(&(1, 3)));
    });
}

#[test]
fn a_writer_that_gives_up_waiting_knows_nothing() {
    block_on(async {
        let (log, place) = log_with(Fencing::AtAppend, Delivery::Manual).await;
        let (mut writer, channel) = begin(&log, &place, 1).await;
        writer.append(&group(1, 1)).unwrap();
        writer.append(&group(1, 2)).unwrap();
        assert_eq!(log.discard(channel), 0, "it still waits");
        log.land(channel, 1);
        log.lose(channel);
        for sequence in 1..=2 {
            assert_eq!(told(&mut *writer).await, Some((sequence, Outcome::Unknown)));
        }
        assert_eq!(writer.append(&group(1, 3)), Err(AppendError::Lost));
        log.deliver(Delivery::Automatic);
        assert_eq!(end(&log, &place).await, 3, "what it has lost sight of does not come home by itself");
    });
}

#[test]
fn groups_of_a_crashed_writer_land_later_unless_fenced() {
    for (fencing, landed) in [(Fencing::Off, 2), (Fencing::AtAppend, 0), (Fencing::Known, 0)] {
        block_on(async move {
            let (log, place) = log_with(fencing, Delivery::Manual).await;
            let (mut old, old_channel) = begin(&log, &place, 1).await;
            for sequence in 1..=3 {
                old.append(&group(1, sequence)).unwrap();
            }
            drop(old);
            let (mut new, new_channel) = open(&log, &place, 2).await;
            new.append(&barrier(2)).unwrap();
            assert_eq!(log.land(old_channel, 1), 1, "a barrier on the way fences nobody");
            log.land(new_channel, 1);
            assert_eq!(log.land(old_channel, 9), landed);
            let mut expected = vec![(1, 0), (1, 1), (2, 0)];
            expected.extend([(1, 2), (1, 3)].into_iter().take(landed));
            assert_eq!(versions(&log, &place).await, expected);
            assert_eq!(log.channels(&place), [new_channel]);
        });
    }
}

#[test]
fn a_fenced_writer_hears_of_it_when_told() {
    block_on(async {
        let (log, place) = log_with(Fencing::AtAppend, Delivery::Manual).await;
        let (mut old, old_channel) = begin(&log, &place, 1).await;
        let (mut new, new_channel) = open(&log, &place, 2).await;
        old.append(&group(1, 1)).unwrap();
        old.append(&group(1, 2)).unwrap();
        log.land(old_channel, 1);
        new.append(&barrier(2)).unwrap();
        log.land(new_channel, 1);
        assert_eq!(log.land(old_channel, 1), 0);
        assert_eq!(told(&mut *old).await, None);
        old.append(&group(1, 3)).unwrap();
        assert_eq!(log.land(old_channel, 1), 0);
        assert_eq!(log.acknowledge(old_channel, 9), 3);
        assert_eq!(told(&mut *old).await, Some((1, appended(1, 3))));
        assert_eq!(told(&mut *old).await, Some((2, Outcome::Fenced)));
        assert_eq!(told(&mut *old).await, Some((3, Outcome::Fenced)));
        assert_eq!(old.append(&group(1, 4)), Err(AppendError::Lost));
    });
}

#[test]
fn the_same_steps_make_the_same_log() {
    let run = || {
        block_on(async {
            let (log, place) = log_with(Fencing::Off, Delivery::Manual).await;
            let spec = TopicSpec { partitions: 1, cleanup: Cleanup::default() };
            let ids =
                [log.topic("t").await.unwrap().unwrap().id, log.create_topic("u", spec).await.unwrap().id];
            assert_ne!(ids[0], ids[1]);
            let (mut one, first) = open(&log, &place, 1).await;
            let (mut two, second) = open(&log, &place, 2).await;
            for sequence in 0..9 {
                one.append(&if sequence == 0 { barrier(1) } else { group(1, sequence) }).unwrap();
                two.append(&if sequence == 0 { barrier(2) } else { group(2, sequence) }).unwrap();
            }
            for n in 0..5 {
                log.land(first, n % 3);
                log.land(second, n % 2 + 1);
            }
            (ids, versions(&log, &place).await, log.channel(first), log.channel(second), format!("{log:?}"))
        })
    };
    assert_eq!(run(), run());
}
