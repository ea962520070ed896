//! Two writers of a partition.

use std::future::poll_fn;

use affinity_types::{Epoch, EventTime, Group, Offset, PartitionId};

use super::Subject;
use super::owner::{Owner, groups, place, read_all, read_range, record};
use crate::{AppendError, Contiguity, ErrorKind, Log, Newest, Outcome, Prepared, TopicPartition, next_ack};

pub(super) async fn preparing_and_opening_fence_nobody(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "prepared", 1).await;
    let mut older = Owner::take_over(subject, &place, 1).await;
    let mut end = 1;
    let mut goes_on = async |older: &mut Owner, after: &str| {
        let group = older.group(now, vec![record("k", after)]);
        assert_eq!(older.appended(&group).await, Offset(end), "after {after}");
        end += 1;
    };
    let prepared = log.prepare(&place).await.expect("it can be prepared");
    goes_on(&mut older, "a preparation").await;
    drop(log.prepare(&place).await.expect("it can be prepared"));
    goes_on(&mut older, "a preparation that was given up").await;
    let opened = prepared.open(Epoch(2)).await.expect("nobody is newer");
    goes_on(&mut older, "an opening").await;
    let mut newer = Owner::new(opened);
    let invalid = newer.group(now, vec![record("k", "no barrier")]);
    assert!(matches!(newer.writer.append(&invalid), Err(AppendError::Invalid(_))));
    goes_on(&mut older, "an append that was not taken").await;
    drop(newer);
    goes_on(&mut older, "a writer that was given up").await;
}

pub(super) async fn a_newer_writer_fences_the_older(subject: &dyn Subject) {
    if !subject.fences() {
        return;
    }
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "fenced", 1).await;
    let mut older = Owner::take_over(subject, &place, 1).await;
    let early = log.prepare(&place).await.expect("it can be prepared");
    let mut newer = Owner::take_over(subject, &place, 2).await;

    let late = older.group(now, vec![record("k", "late")]);
    if older.writer.append(&late).is_ok() {
        assert_eq!(next_ack(&mut *older.writer).await.outcome, Outcome::Fenced);
    }
    assert!(older.is_lost(now));
    assert_eq!(poll_fn(|cx| older.writer.poll_ready(cx)).await, Err(AppendError::Lost));
    assert_eq!(older.writer.in_flight(), 0);

    // Preparations are ordered: the earlier one is the older, whatever its epoch.
    match early.open(Epoch(3)).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced),
        Ok(writer) => {
            let mut early = Owner::new(writer);
            let barrier = early.barrier(now);
            assert_eq!(early.outcome(&barrier).await, Outcome::Fenced);
        }
    }
    let group = newer.group(now, vec![record("k", "new")]);
    assert_eq!(newer.appended(&group).await, Offset(2), "nothing of the older has landed");
}

pub(super) async fn groups_in_flight_land_before_the_barrier_or_never(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let first = place(subject, "flight", 4).await;
    for partition in 0..4 {
        let place = TopicPartition { partition: PartitionId(partition), ..first.clone() };
        let mut older = Owner::take_over(subject, &place, 1).await;
        let mut newer = Owner::open(&*log, &place, 2).await;
        let mut sent: Vec<Group> = Vec::new();
        // The newer one's barrier goes out amid the older one's groups, elsewhere in each round.
        for n in 0..24 {
            if n == 8 * partition {
                let barrier = newer.barrier(now);
                newer.writer.append(&barrier).expect("nobody is newer");
            }
            let group = older.group(now, vec![record("k", &n.to_string()), record("l", "")]);
            match older.writer.append(&group) {
                Ok(()) => sent.push(group),
                Err(error) => assert_eq!(error, AppendError::Lost),
            }
        }
        if partition == 3 {
            let barrier = newer.barrier(now);
            newer.writer.append(&barrier).expect("nobody is newer");
        }
        assert!(matches!(next_ack(&mut *newer.writer).await.outcome, Outcome::Appended { .. }));
        let (appended, unknown) = outcomes_of(&mut older, &sent, subject.fences()).await;

        let read = groups(read_all(&*log, &place).await);
        let landed: Vec<&Group> = read[1..].iter().filter(|group| group.version.epoch == Epoch(1)).collect();
        assert!(landed.iter().zip(&sent).all(|(landed, sent)| *landed == sent), "whole, and in order");
        assert!(
            (appended..=appended + unknown).contains(&landed.len()),
            "what was acknowledged, and only that"
        );
        if subject.fences() {
            assert!(
                read.iter().map(|group| group.version.epoch).is_sorted(),
                "nothing lands behind the barrier"
            );
        }
    }
}

/// How many outcomes were `Appended` and `Unknown`: in this order, and then `Fenced`.
async fn outcomes_of(older: &mut Owner, sent: &[Group], fences: bool) -> (usize, usize) {
    let mut counts = [0; 3];
    let mut last = 0;
    for group in sent {
        let ack = next_ack(&mut *older.writer).await;
        assert_eq!(ack.sequence, group.version.sequence);
        let rank = match ack.outcome {
            Outcome::Appended { .. } => 0,
            Outcome::Unknown => 1,
            Outcome::Fenced => 2,
            Outcome::Refused => panic!("{} was refused for no reason", group.version),
        };
        assert!(
            rank >= last,
            "{} came to {:?} behind a group that was not appended",
            group.version,
            ack.outcome
        );
        last = rank;
        counts[rank] += 1;
    }
    assert!(fences || counts[2] == 0, "a log that cannot fence has fenced");
    (counts[0], counts[1])
}

/// A candidate for mastership, step by step.
#[derive(Default)]
struct Candidate {
    steps: usize,
    read: u64,
    prepared: Option<Box<dyn Prepared>>,
    epoch: u64,
    /// Set while it serves.
    serving: Option<(Owner, Contiguity)>,
}

impl Candidate {
    const STEPS: usize = 4;

    /// Does its next step: read the coordinator, prepare, win the epoch there, open and append the barrier. One that has
    /// lost does nothing any more.
    async fn step(&mut self, log: &dyn Log, place: &TopicPartition, time: EventTime, coordinator: &mut u64) {
        self.steps += 1;
        match self.steps {
            1 => self.read = *coordinator,
            2 => self.prepared = Some(log.prepare(place).await.expect("it can be prepared")),
            3 if self.read == *coordinator => {
                *coordinator += 1;
                self.epoch = *coordinator;
            }
            4 if self.epoch > 0 => self.take_over(log, place, time).await,
            _ => {}
        }
    }

    async fn take_over(&mut self, log: &dyn Log, place: &TopicPartition, time: EventTime) {
        let prepared = self.prepared.take().expect("it was prepared before");
        let Ok(writer) = prepared.open(Epoch(self.epoch)).await else { return };
        let mut owner = Owner::new(writer);
        let barrier = owner.barrier(time);
        let outcome = owner.outcome(&barrier).await;
        let Outcome::Appended { first, .. } = outcome else {
            assert_eq!(outcome, Outcome::Fenced);
            return;
        };
        let mut check = Contiguity::default();
        check.observe(&outcome);
        if !higher(log, place, Offset::ZERO, first, self.epoch).await {
            self.serving = Some((owner, check));
        }
    }

    /// Whether it still serves after another append.
    async fn serves(&mut self, log: &dyn Log, place: &TopicPartition, time: EventTime) -> bool {
        let Some((owner, check)) = &mut self.serving else { return false };
        let group = owner.group(time, vec![record("k", &self.epoch.to_string())]);
        if owner.writer.append(&group).is_err() {
            return false;
        }
        let outcome = next_ack(&mut *owner.writer).await.outcome;
        let gap = check.observe(&outcome);
        if !matches!(outcome, Outcome::Appended { .. }) {
            assert_eq!(outcome, Outcome::Fenced);
            return false;
        }
        match gap {
            None => true,
            Some(gap) => !higher(log, place, gap.start, gap.end, self.epoch).await,
        }
    }
}

/// Whether a higher epoch has a group in the range.
async fn higher(log: &dyn Log, place: &TopicPartition, from: Offset, to: Offset, epoch: u64) -> bool {
    read_range(log, place, from, to).await.iter().any(|read| read.group.version.epoch > Epoch(epoch))
}

pub(super) async fn two_candidates_in_any_order_leave_one_master(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let steps = 2 * Candidate::STEPS;
    // Each bit says whose step is next.
    let orders: Vec<u32> =
        (0..1 << steps).filter(|order: &u32| order.count_ones() as usize == Candidate::STEPS).collect();
    let partitions = u32::try_from(orders.len()).expect("70");
    let first = place(subject, "candidates", partitions).await;
    for (partition, order) in (0..).map(PartitionId).zip(orders) {
        let place = TopicPartition { partition, ..first.clone() };
        let mut coordinator = 0;
        let mut candidates = [Candidate::default(), Candidate::default()];
        for step in 0..steps {
            let whose = usize::from(order >> step & 1 == 1);
            candidates[whose].step(&*log, &place, now, &mut coordinator).await;
        }
        let mut masters = Vec::new();
        // Twice: what the second one does may end the first one.
        for _ in 0..2 {
            masters.clear();
            for candidate in &mut candidates {
                if candidate.serves(&*log, &place, now).await {
                    masters.push(candidate.epoch);
                } else {
                    candidate.serving = None;
                }
            }
        }
        assert_eq!(
            masters,
            [coordinator],
            "order {order:#010b}: the winner of the newest epoch serves, alone"
        );
    }
}

pub(super) async fn a_lower_epoch_is_refused_where_the_log_knows(subject: &dyn Subject) {
    if !subject.knows_newest() {
        return;
    }
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "lower", 1).await;
    let mut owner = Owner::take_over(subject, &place, 5).await;
    for epoch in [1, 4] {
        let prepared = log.prepare(&place).await.expect("it can be prepared");
        let kind = prepared.open(Epoch(epoch)).await.err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Fenced), "epoch {epoch}");
    }
    let group = owner.group(now, vec![record("k", "v")]);
    assert_eq!(owner.appended(&group).await, Offset(1), "the attempts have changed nothing");
}

pub(super) async fn newest_is_never_wrong(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "newest", 1).await;
    let told = |answer| if subject.knows_newest() { answer } else { Newest::Unknown };
    let older = Owner::take_over(subject, &place, 1).await;
    assert_eq!(older.writer.newest(), told(Newest::Yes));
    let mut newer = Owner::open(&*log, &place, 2).await;
    assert_eq!(older.writer.newest(), told(Newest::Yes), "preparing and opening fence nobody");
    let barrier = newer.barrier(now);
    newer.appended(&barrier).await;
    assert_eq!(older.writer.newest(), told(Newest::No));
    assert_eq!(newer.writer.newest(), told(Newest::Yes));
    drop(older);
    assert_eq!(newer.writer.newest(), told(Newest::Yes));
}

pub(super) async fn contiguity_finds_the_other_writer(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "contiguity", 1).await;
    let mut older = Owner::take_over(subject, &place, 1).await;
    let mut checks = [Contiguity::default(), Contiguity::default()];
    checks[0].observe(&Outcome::Appended { first: Offset(0), next: Offset(1) });
    let mut newer = Owner::take_over(subject, &place, 2).await;
    checks[1].observe(&Outcome::Appended { first: Offset(1), next: Offset(2) });

    let late = older.group(now, vec![record("k", "late"), record("l", "late")]);
    let fenced = older.writer.append(&late).is_err()
        || checks[0].observe(&next_ack(&mut *older.writer).await.outcome).is_none();
    assert_eq!(fenced, subject.fences(), "the older one is fenced, or sees the barrier in the gap");
    let group = newer.group(now, vec![record("k", "new")]);
    let gap = checks[1].observe(&newer.outcome(&group).await);
    if subject.fences() {
        assert_eq!(gap, None);
    } else {
        let gap = gap.expect("the late group lies between");
        let read = read_range(&*log, &place, gap.start, gap.end).await;
        assert_eq!(groups(read), [late]);
    }
}
