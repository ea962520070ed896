//! Random walks over everything that can happen to the writers of a partition, held against the law.

use std::future::poll_fn;
use std::task::Poll;

use affinity_log::memory::{ChannelId, Delivery, Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{
    Ack, AppendError, Cleanup, Limits, Log, Outcome, Tail, TopicPartition, TopicSpec, Writer, next_batch,
};
use affinity_types::control;
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Key, Offset, PartitionId, Record, Sequence, Version,
};

use super::block_on;

/// SplitMix64: the walk of a seed is the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }
}

/// A writer, and what it was told of each of its appends.
struct Owner {
    writer: Option<Box<dyn Writer>>,
    channel: ChannelId,
    epoch: u64,
    next: u64,
    sent: Vec<Group>,
    told: Vec<Outcome>,
    /// Appends up to the one that was made when the last refusal was taken.
    fallen: usize,
}

impl Owner {
    fn append(&mut self, records: usize) {
        let Some(writer) = &mut self.writer else { return };
        let record = |n: usize| {
            Record::new(Key::copy_from(n.to_string().as_bytes()), Some(self.next.to_string().into()))
        };
        let version = Version::new(Epoch(self.epoch), Sequence(self.next));
        let records = (0..records).map(record).collect();
        let mut group = Group { version, time: EventTime(0), attributes: Attributes::default(), records };
        let mut answer = writer.append(&group);
        if matches!(answer, Err(AppendError::Invalid(_))) {
            assert!(
                self.told.iter().all(|outcome| *outcome == Outcome::Refused),
                "its barrier has not landed"
            );
            group = control::barrier_group(Epoch(self.epoch), EventTime(0), 300, 1);
            answer = writer.append(&group);
        }
        match answer {
            Ok(()) => {
                self.next += 1;
                self.sent.push(group);
            }
            Err(AppendError::Full) => assert_eq!(writer.in_flight(), 6),
            // It is fenced or has lost sight of a group, and may not have taken the outcome that says so.
            Err(AppendError::Lost) => {}
            Err(error) => panic!("{error}"),
        }
    }

    async fn take(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        let Poll::Ready(Ack { sequence, outcome }) = poll_fn(|cx| Poll::Ready(writer.poll_ack(cx))).await
        else {
            return;
        };
        let group = &self.sent[self.told.len()];
        assert_eq!(sequence, group.version.sequence, "in the order of the appends");
        let after_refused = self.told.len() < self.fallen;
        assert!(
            !after_refused || matches!(outcome, Outcome::Refused | Outcome::Unknown),
            "it falls with the refused"
        );
        if let Some(last @ (Outcome::Unknown | Outcome::Fenced)) = self.told.last() {
            assert_eq!(outcome, *last, "a writer that is finished stays finished");
        }
        self.told.push(outcome);
        if outcome == Outcome::Refused {
            self.fallen = self.sent.len();
        }
        if matches!(outcome, Outcome::Unknown | Outcome::Fenced) {
            assert_eq!(writer.append(group), Err(AppendError::Lost));
        }
    }
}

struct Walk {
    log: MemoryLog,
    place: TopicPartition,
    owners: Vec<Owner>,
    tail: Box<dyn Tail>,
    read: Vec<(Offset, Version)>,
}

impl Walk {
    async fn new(fencing: Fencing) -> Walk {
        let limits = Limits { group_bytes_max: 1 << 10, in_flight_max: 6 };
        let log = MemoryLog::new(MemoryOptions {
            fencing,
            delivery: Delivery::Manual,
            limits,
            ..MemoryOptions::default()
        });
        log.create_topic("t", TopicSpec { partitions: 1, cleanup: Cleanup::default() }).await.unwrap();
        let place = TopicPartition::new("t", PartitionId(0));
        let tail = log.tail(&place, Offset::ZERO).await.unwrap();
        Walk { log, place, owners: Vec::new(), tail, read: Vec::new() }
    }

    async fn step(&mut self, dice: &mut Dice) {
        let action = dice.below(40);
        if self.owners.is_empty() || action == 0 {
            return self.open().await;
        }
        let whose = dice.below(self.owners.len());
        let owner = &mut self.owners[whose];
        let channel = owner.channel;
        match action {
            1..=14 => owner.append(1 + dice.below(3)),
            15..=21 => _ = self.log.land(channel, dice.below(4)),
            22..=27 => _ = self.log.acknowledge(channel, dice.below(4)),
            28..=34 => owner.take().await,
            35 => self.log.inject(channel, [Fault::Refuse, Fault::LoseAck, Fault::LoseAppend][dice.below(3)]),
            36 if dice.below(8) == 0 => self.log.lose(channel),
            37 if dice.below(8) == 0 => owner.writer = None,
            38 if dice.below(4) == 0 => _ = self.log.discard(channel),
            _ => self.follow().await,
        }
    }

    async fn open(&mut self) {
        let epoch = self.owners.len() as u64 + 1;
        let prepared = self.log.prepare(&self.place).await.unwrap();
        let writer = prepared.open(Epoch(epoch)).await.unwrap();
        let channel = *self.log.channels(&self.place).last().unwrap();
        let (sent, told) = (Vec::new(), Vec::new());
        let writer = Some(writer);
        self.owners.push(Owner { writer, channel, epoch, next: 0, sent, told, fallen: 0 });
    }

    /// Reads on, if there is more.
    async fn follow(&mut self) {
        if let Poll::Ready(batch) = poll_fn(|cx| Poll::Ready(self.tail.poll_batch(cx))).await {
            self.read.extend(batch.unwrap().groups().map(|group| (group.base(), group.version())));
        }
    }

    /// Holds what happened against the law.
    async fn judge(mut self, fencing: Fencing) {
        self.log.deliver(Delivery::Automatic);
        for owner in &mut self.owners {
            while owner.writer.as_ref().is_some_and(|writer| writer.in_flight() > 0) {
                let told = owner.told.len();
                owner.take().await;
                assert!(owner.told.len() > told, "epoch {} waits for ever", owner.epoch);
            }
        }
        self.follow().await;
        let end = self.log.bounds(&self.place).await.unwrap().end;
        let mut tail = self.log.tail(&self.place, Offset::ZERO).await.unwrap();
        let (mut next, mut landed) = (Offset::ZERO, Vec::new());
        while next < end {
            let batch = next_batch(&mut *tail).await.unwrap();
            landed.extend(batch.groups().map(|group| (group.base(), group.version())));
            next = batch.next();
        }
        assert_eq!(self.read, landed, "a reader that follows sees what one sees afterwards");
        if fencing != Fencing::Off {
            let epochs = landed.iter().map(|(_, version)| version.epoch);
            assert!(epochs.is_sorted(), "nothing lands behind a newer writer's first group");
        }
        for owner in &self.owners {
            let epoch = Epoch(owner.epoch);
            let of_it: Vec<_> = landed.iter().filter(|(_, version)| version.epoch == epoch).collect();
            assert!(of_it.is_sorted_by(|a, b| a.1 < b.1), "in the order of the appends, and once");
            assert!(of_it.first().is_none_or(|(_, version)| version.sequence == Sequence::FIRST));
            for (group, outcome) in owner.sent.iter().zip(&owner.told) {
                let found =
                    of_it.iter().find(|(_, version)| *version == group.version).map(|(base, _)| *base);
                match *outcome {
                    Outcome::Appended { first, next } => {
                        assert_eq!(found, Some(first));
                        assert_eq!(next, first.advance(group.records.len() as u64));
                    }
                    // A refused barrier is sent again under the same version.
                    Outcome::Refused => assert!(found.is_none() || group.version.sequence == Sequence::FIRST),
                    Outcome::Fenced => {
                        assert!(fencing != Fencing::Off);
                        assert_eq!(found, None);
                    }
                    Outcome::Unknown => {}
                }
            }
        }
    }
}

#[test]
fn whatever_happens_the_law_is_kept() {
    for fencing in [Fencing::Off, Fencing::AtAppend, Fencing::Known] {
        for seed in 0..400 {
            let walked = std::panic::catch_unwind(|| {
                block_on(async {
                    let (mut walk, mut dice) = (Walk::new(fencing).await, Dice(seed));
                    for _ in 0..400 {
                        walk.step(&mut dice).await;
                    }
                    walk.judge(fencing).await;
                });
            });
            assert!(walked.is_ok(), "{fencing:?}, seed {seed}");
        }
    }
}
