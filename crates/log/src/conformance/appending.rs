//! Appending.

use std::sync::Arc;
use std::task::Poll;

use affinity_types::control::{self, Control, StoreKey};
use affinity_types::{Attributes, Epoch, EventTime, Group, InputPosition, Key, Offset, PartitionId, Record};
use affinity_types::{RecordKind, Request, RequestId, Version};

use super::Subject;
use super::bell::Bell;
use super::owner::{CONTROL, Owner, deletion, groups, place, read_all, record};
use crate::{AppendError, Contiguity, Outcome, TopicPartition, next_ack};

/// Records of every kind, with everything that a record may have.
fn records_of_all_kinds(now: EventTime) -> Vec<Record> {
    let store = StoreKey { store: "by-name", key: b"k" }.frame(9);
    let control = Control { kind: "applied", scope: "bank/3", number: u64::MAX }.frame(CONTROL);
    let plain = record("plain", "value");
    let all = Record {
        event_time: Some(EventTime(-5)),
        expires: Some(now.plus_ms(1)),
        repairs: Some(Version::new(Epoch(u64::MAX), affinity_types::Sequence(u64::MAX))),
        ..record("all", "value")
    };
    vec![
        Record { kind: RecordKind::Store, ..Record::new(Key::new(store), Some("indexed".into())) },
        Record { kind: RecordKind::Control, ..Record::new(Key::new(control), None) },
        Record { key: Key::copy_from(&[0, 255, 254, 0]), ..plain.clone() },
        Record { event_time: Some(EventTime(i64::MAX)), ..deletion("deleted") },
        Record { expires: Some(EventTime(i64::MIN)), ..record("expired", "") },
        plain.clone(),
        all,
        plain,
        record("", "an empty key"),
        record("", ""),
    ]
}

fn request(issued: Option<EventTime>, result: &'static str) -> Request {
    let id = RequestId { client: u128::MAX - 1, sequence: u64::MAX, issued };
    Request { id, hash: 0x0123_4567_89ab_cdef, result: result.into() }
}

fn attributes_of_all_kinds(now: EventTime) -> Vec<Attributes> {
    let positions = vec![
        InputPosition { input: "clicks".into(), offset: Offset(u64::MAX) },
        InputPosition { input: String::new(), offset: Offset::ZERO },
    ];
    vec![
        Attributes::default(),
        Attributes { request: Some(request(None, "")), positions: Vec::new() },
        Attributes { request: None, positions: positions.clone() },
        Attributes { request: Some(request(Some(now), "the answer")), positions },
    ]
}

pub(super) async fn groups_come_back_exactly(subject: &dyn Subject) {
    let now = subject.now();
    let place = place(subject, "exact", 1).await;
    let mut owner = Owner::take_over(subject, &place, u64::MAX - 3).await;
    let mut written = vec![owner.barrier(now)];
    for attributes in attributes_of_all_kinds(now) {
        for records in [records_of_all_kinds(now), vec![record("one", "1")], vec![deletion("one")]] {
            let group = owner.group(now, records);
            written.push(Group { attributes: attributes.clone(), ..group });
        }
    }
    let unchanged = owner.group(now, Vec::new());
    written.push(control::no_op_group(unchanged.version, now, CONTROL));
    owner.append_all(&written[1..]).await;
    assert_eq!(groups(read_all(&*subject.log(), &place).await), written);
}

pub(super) async fn groups_at_the_limits_come_back_whole(subject: &dyn Subject) {
    let now = subject.now();
    let place = place(subject, "large", 1).await;
    let mut owner = Owner::take_over(subject, &place, 1).await;
    let max = subject.log().limits().group_bytes_max;
    let large = owner.group(now, vec![record("k", &"x".repeat(max - 1))]);
    assert_eq!(large.payload_bytes(), max);
    let many = (0..Group::RECORDS_MAX).map(|n| record(&n.to_string(), "")).collect();
    let many = owner.group(now, many);
    let empty = owner.group(now, vec![record("", "")]);
    let written = vec![large, many, empty];
    owner.append_all(&written).await;
    let read = groups(read_all(&*subject.log(), &place).await);
    assert!(read[1..] == written, "other groups came back than were written");
}

pub(super) async fn a_group_over_the_limit_takes_nothing(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "too-large", 1).await;
    let mut owner = Owner::take_over(subject, &place, 1).await;
    let max = log.limits().group_bytes_max;
    let half = record("k", &"x".repeat(max / 2));
    let mut group = owner.group(now, vec![half.clone(), half]);
    let bytes = group.payload_bytes();
    assert_eq!(owner.writer.append(&group), Err(AppendError::TooLarge { bytes, max }));
    assert_eq!(owner.writer.in_flight(), 0);
    group.records.truncate(1);
    assert_eq!(owner.appended(&group).await, Offset(1), "the same sequence fits when the group does");
    assert_eq!(read_all(&*log, &place).await.len(), 2);
}

pub(super) async fn an_invalid_group_takes_nothing(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "invalid", 1).await;
    let mut owner = Owner::open(&*log, &place, 2).await;
    let invalid = |owner: &mut Owner, what: &str, group: &Group| {
        let answer = owner.writer.append(group);
        assert!(matches!(answer, Err(AppendError::Invalid(_))), "{what}: {answer:?}");
        assert_eq!(owner.writer.in_flight(), 0, "{what}");
    };
    let no_barrier = owner.group(now, vec![record("a", "1")]);
    invalid(&mut owner, "no barrier first", &no_barrier);
    invalid(&mut owner, "the barrier of another epoch", &control::barrier_group(Epoch(3), now, 300, CONTROL));
    let barrier = owner.barrier(now);
    let other_key = Group { records: vec![record("barrier", "")], ..barrier.clone() };
    invalid(&mut owner, "a barrier's version without its record", &other_key);
    assert_eq!(owner.appended(&barrier).await, Offset(0));

    let first = owner.group(now, vec![record("a", "1")]);
    let second = owner.group(now, vec![record("a", "2")]);
    let epoch =
        |epoch| Group { version: Version::new(Epoch(epoch), second.version.sequence), ..second.clone() };
    assert_eq!(owner.appended(&first).await, Offset(1));
    invalid(&mut owner, "a lower epoch", &epoch(1));
    invalid(&mut owner, "a higher epoch", &epoch(3));
    invalid(&mut owner, "the same sequence", &Group { version: first.version, ..second.clone() });
    invalid(&mut owner, "an earlier sequence", &Group { version: barrier.version, ..second.clone() });
    invalid(&mut owner, "no records", &Group { records: Vec::new(), ..second.clone() });
    let many = vec![record("a", ""); Group::RECORDS_MAX + 1];
    invalid(&mut owner, "too many records", &Group { records: many, ..second.clone() });
    assert_eq!(owner.appended(&second).await, Offset(2), "nothing of all this has taken an offset");
    assert_eq!(groups(read_all(&*log, &place).await), [barrier, first, second]);
}

/// An owner with many groups in flight, who takes outcomes only when it must.
struct Pipeline {
    place: TopicPartition,
    owner: Owner,
    sent: Vec<Group>,
    taken: usize,
    check: Contiguity,
    end: Offset,
}

impl Pipeline {
    async fn send(&mut self, group: Group) {
        while let Err(error) = self.owner.writer.append(&group) {
            assert_eq!(error, AppendError::Full);
            self.take().await;
        }
        self.sent.push(group);
    }

    async fn take(&mut self) {
        let ack = next_ack(&mut *self.owner.writer).await;
        let group = &self.sent[self.taken];
        self.taken += 1;
        assert_eq!(ack.sequence, group.version.sequence);
        assert_eq!(self.check.observe(&ack.outcome), None, "nobody else appends to {}", self.place);
        let next = self.end.advance(group.records.len() as u64);
        assert_eq!(ack.outcome, Outcome::Appended { first: self.end, next });
        self.end = next;
    }
}

pub(super) async fn acknowledgements_come_in_order_with_their_offsets(subject: &dyn Subject) {
    const PARTITIONS: u32 = 4;
    const GROUPS: usize = 120;
    let (log, now) = (subject.log(), subject.now());
    let first = place(subject, "pipelined", PARTITIONS).await;
    let mut pipelines = Vec::new();
    for partition in (0..PARTITIONS).map(PartitionId) {
        let place = TopicPartition { partition, ..first.clone() };
        let owner = Owner::open(&*log, &place, 1).await;
        let (check, end) = (Contiguity::default(), Offset::ZERO);
        pipelines.push(Pipeline { place, owner, sent: Vec::new(), taken: 0, check, end });
    }
    for n in 0..GROUPS {
        for pipeline in &mut pipelines {
            let owner = &mut pipeline.owner;
            // Gaps in the sequence are allowed; sizes differ.
            if n % 10 == 9 {
                owner.group(now, Vec::new());
            }
            let records =
                (0..n % 5 + 1).map(|i| record(&format!("{n} {i}"), &"v".repeat(n * 7 % 300))).collect();
            let group = if n == 0 { owner.barrier(now) } else { owner.group(now, records) };
            pipeline.send(group).await;
        }
    }
    for mut pipeline in pipelines {
        while pipeline.owner.writer.in_flight() > 0 {
            pipeline.take().await;
        }
        assert_eq!(pipeline.taken, GROUPS);
        assert_eq!(log.bounds(&pipeline.place).await.expect("it is there").end, pipeline.end);
        let read = groups(read_all(&*log, &pipeline.place).await);
        assert!(read == pipeline.sent, "{} holds other groups than were sent", pipeline.place);
    }
}

pub(super) async fn a_full_writer_tells_and_wakes(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "full", 1).await;
    let mut owner = Owner::take_over(subject, &place, 1).await;
    let max = log.limits().in_flight_max;
    let mut taken = 0;
    let refused = loop {
        let group = owner.group(now, vec![record("k", "v")]);
        match owner.writer.append(&group) {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error, AppendError::Full);
                break group;
            }
        }
        assert!(taken <= max, "more than {max} groups wait for their acknowledgement");
    };
    assert_eq!(owner.writer.in_flight(), taken, "a group that was not taken is not in flight");

    // An owner that polls for room and for outcomes is woken until there is room.
    let mut outcomes = 0;
    loop {
        let bell = Arc::new(Bell::default());
        if let Poll::Ready(answer) = bell.poll(|cx| owner.writer.poll_ready(cx)) {
            answer.expect("nobody is newer");
            break;
        }
        match bell.poll(|cx| owner.writer.poll_ack(cx)) {
            Poll::Ready(ack) => {
                assert!(matches!(ack.outcome, Outcome::Appended { .. }));
                outcomes += 1;
            }
            Poll::Pending => bell.heard().await,
        }
    }
    assert!(outcomes > 0, "there is room before an outcome was taken");
    owner.writer.append(&refused).expect("there is room");
    for n in outcomes..taken + 1 {
        let first = Offset(1 + n as u64);
        assert_eq!(
            next_ack(&mut *owner.writer).await.outcome,
            Outcome::Appended { first, next: first.advance(1) }
        );
    }
}

pub(super) async fn bounds_tell_what_is_there(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "bounds", 1).await;
    let bounds = async || {
        let bounds = log.bounds(&place).await.expect("it is there");
        (bounds.start.0, bounds.end.0, bounds.newest)
    };
    assert_eq!(bounds().await, (0, 0, None));
    let mut owner = Owner::take_over(subject, &place, 1).await;
    assert_eq!(bounds().await, (0, 1, Some(now)));
    for (records, time, end) in [(3, now.plus_ms(9), 4), (1, now.plus_ms(5), 5), (2, now.minus_ms(7), 7)] {
        let group = owner.group(time, vec![record("k", "v"); records]);
        owner.appended(&group).await;
        assert_eq!(bounds().await, (0, end, Some(time)), "newest is the last in the log, whatever its time");
    }
}

pub(super) async fn dropping_a_writer_does_no_harm(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "dropped", 1).await;
    let mut owner = Owner::open(&*log, &place, 1).await;
    let mut sent = vec![owner.barrier(now)];
    sent.extend((0..20).map(|n| owner.group(now, vec![record("k", &n.to_string()), record("l", "")])));
    for group in &sent {
        owner.writer.append(group).expect("there is room");
    }
    drop(owner);

    let mut next = Owner::take_over(subject, &place, 2).await;
    let group = next.group(now, vec![record("k", "new")]);
    next.appended(&group).await;
    let read = groups(read_all(&*log, &place).await);
    let (old, new): (Vec<Group>, Vec<Group>) =
        read.iter().cloned().partition(|group| group.version.epoch == Epoch(1));
    assert_eq!(old, sent[..old.len()], "what landed of it is whole, and landed in order");
    assert_eq!(new, [next.barrier(now), group]);
    if subject.fences() {
        assert!(read.iter().map(|group| group.version.epoch).is_sorted(), "nothing lands behind the barrier");
    }
}
