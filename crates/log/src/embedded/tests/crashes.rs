//! Seeded crashes at every step of the log: after recovery every acknowledged group is there whole, in order, once.
//!
//! A run opens the log, appends groups over several partitions, compacts, rolls, lets syncs fail and the disk fill up, stops
//! the machine at some call, and opens again; a model knows what must, may and must not be there. One thread drives
//! committer and compactor step by step, so a seed is the whole story: `AFFINITY_SEED=n cargo test -p affinity-log
//! one_seed` tells it again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_types::{
    Attributes, Clock, Epoch, EventTime, Group, InputPosition, Key, ManualClock, Offset, PartitionId, Record,
    Request, RequestId, Sequence, TopicId, Version, control,
};

use super::Random;
use super::sim_disk::SimDisk;
use crate::embedded::committer::Committer;
use crate::embedded::compactor::Compactor;
use crate::embedded::manifest::TopicEntry;
use crate::embedded::options::EmbeddedOptions;
use crate::embedded::protection::{Protection, with_removed};
use crate::embedded::queue::Gathered;
use crate::embedded::recovery;
use crate::embedded::shelf::{SEALED_MAX, Shelf};
use crate::embedded::slot::{Slot, SlotState};
use crate::embedded::tail::EmbeddedTail;
use crate::embedded::writer::WriterState;
use crate::{Cleanup, Error, ErrorKind, GroupRef, Outcome, Tail, Topic, TopicPartition, TopicSpec};

const SEEDS: u64 = 10_000;
const PARTITIONS: u32 = 3;
const SEGMENT: u32 = 6 << 10;
const WINDOW_MS: u64 = 5_000;
const RETENTION_MS: u64 = 20_000;
/// How long the third topic keeps what it has.
const KEEP_MS: u64 = 12_000;
const SLOTS: u32 = 3 * PARTITIONS;

/// What became of a group as far as its owner knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged(Offset),
    /// It may be there, or not; once the log was opened again it is one for ever.
    Open,
    Never,
}

/// A partition as it must be.
#[derive(Default)]
struct Model {
    groups: Vec<(Group, Fate)>,
    epoch: u64,
}

struct Run {
    seed: u64,
    random: Random,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    /// By slot: the partitions of the compacted topic, those of the one that keeps all, and those of the one that keeps
    /// the newest.
    models: BTreeMap<u32, Model>,
    value: u64,
    /// Groups of the last block, which a damaged tail may take along.
    last_block: Vec<(u32, Version)>,
    counts: Counts,
}

/// How often what the runs are there for has happened.
#[derive(Debug, Default)]
struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    const ALL: [&'static str; 11] = [
        "segments rolled",
        "segments sorted",
        "sorted files written anew",
        "cleaning passes",
        "beginnings given up",
        "unknown outcomes",
        "refusals by a full disk",
        "failed steps of compaction",
        "torn tails",
        "leftovers removed",
        "damage refused",
    ];

    fn add(&mut self, what: &'static str, count: usize) {
        debug_assert!(Counts::ALL.contains(&what), "{what} is counted");
        *self.0.entry(what).or_default() += count as u64;
    }

    fn merge(mut self, other: Counts) -> Counts {
        other.0.into_iter().for_each(|(what, count)| *self.0.entry(what).or_default() += count);
        self
    }
}

/// What a step of the compactor changes, as far as it is counted.
struct Sight {
    sealed: usize,
    sorted: Vec<u64>,
    dirty: usize,
    starts: u64,
}

impl Sight {
    fn of(shelf: &Shelf) -> Sight {
        let files = shelf.files();
        Sight {
            sealed: shelf.sealed(),
            sorted: files.sorted.iter().map(|shelved| shelved.file.number).collect(),
            dirty: files.sorted.iter().filter(|shelved| shelved.dirty).count(),
            starts: shelf.slots().iter().map(|slot| slot.state().start.0).sum(),
        }
    }
}

/// A step of the compactor, counted.
fn step(shelf: &Shelf, compactor: &mut Compactor, counts: &mut Counts) -> std::io::Result<bool> {
    let before = Sight::of(shelf);
    let stepped = compactor.step();
    let after = Sight::of(shelf);
    counts.add("segments sorted", before.sealed - after.sealed);
    let gone = before.sorted.iter().filter(|number| !after.sorted.contains(number)).count();
    counts.add("sorted files written anew", gone);
    counts.add(
        "cleaning passes",
        usize::from(gone == 0 && before.sorted.len() > 1 && after.dirty < before.dirty),
    );
    counts.add("beginnings given up", usize::from(after.starts > before.starts));
    counts.add("failed steps of compaction", usize::from(stepped.is_err()));
    stepped
}

fn topics() -> [(&'static str, Cleanup); 3] {
    let compact = Cleanup::Compact {
        delete_retention: Duration::from_millis(RETENTION_MS),
        request_window: Duration::from_millis(WINDOW_MS),
    };
    let keep = |retention| Cleanup::Delete { retention, retention_bytes: None };
    [("compacted", compact), ("kept", keep(None)), ("retained", keep(Some(Duration::from_millis(KEEP_MS))))]
}

/// The log between two openings.
struct Opened {
    shelf: Arc<Shelf>,
    committer: Committer,
    compactor: Compactor,
    writers: BTreeMap<u32, Arc<WriterState>>,
    sequences: BTreeMap<u32, u64>,
}

impl Run {
    fn new(seed: u64) -> Run {
        Run {
            seed,
            random: Random(seed ^ 0x5eed),
            disk: SimDisk::new(seed),
            clock: Arc::new(ManualClock::at(EventTime(1_000_000))),
            models: (0..SLOTS).map(|slot| (slot, Model::default())).collect(),
            value: 0,
            last_block: Vec::new(),
            counts: Counts::default(),
        }
    }

    fn open(&mut self) -> Result<Opened, Error> {
        let options = EmbeddedOptions {
            segment_bytes: SEGMENT,
            group_bytes_max: SEGMENT / 4,
            read_bytes: 700,
            compaction_map_bytes: 32 * 20,
            ..EmbeddedOptions::default()
        };
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let (shelf, committer, found) = recovery::open(Arc::new(self.disk.clone()), clock, options)?;
        self.counts.add("torn tails", usize::from(found.torn.is_some()));
        self.counts.add("leftovers removed", found.removed.len());
        let compactor = Compactor::new(Arc::clone(&shelf));
        for (i, (name, cleanup)) in topics().into_iter().enumerate() {
            create(&shelf, name, cleanup, i)?;
        }
        let (writers, sequences) = (BTreeMap::new(), BTreeMap::new());
        Ok(Opened { shelf, committer, compactor, writers, sequences })
    }

    /// Appends and compacts until the steps are done or the machine stops.
    fn work(&mut self, log: &mut Opened, steps: u64) {
        for _ in 0..steps {
            if self.disk.crashed() {
                return;
            }
            match self.random.below(12) {
                0 => drop(step(&log.shelf, &mut log.compactor, &mut self.counts)),
                1 => log.committer.mark(),
                2 => self.clock.advance_ms(self.random.below(3_000)),
                3 if self.random.once_in(3) => self.disk.set_sync_failures(self.random.below(3) * 150),
                4 if self.random.once_in(3) => {
                    let room =
                        self.random.once_in(2).then(|| usize::try_from(self.random.below(4_000)).unwrap());
                    self.disk.set_room(room);
                }
                _ => self.append_some(log),
            }
        }
    }

    fn append_some(&mut self, log: &mut Opened) {
        let mut gathered = Gathered::default();
        let mut sent = Vec::new();
        for _ in 0..=self.random.below(5) {
            let slot = u32::try_from(self.random.below(u64::from(SLOTS))).unwrap();
            if let Some(group) = self.next_group(log, slot) {
                let writer = Arc::clone(&log.writers[&slot]);
                gathered.push(&writer, &group, SEGMENT as usize / 2).unwrap();
                sent.push((slot, writer, group));
            }
        }
        let Opened { shelf, committer, compactor, .. } = log;
        let (counts, before) = (&mut self.counts, shelf.extended());
        committer.commit(&mut gathered, &mut || {
            while shelf.sealed() >= SEALED_MAX {
                if step(shelf, compactor, counts).is_err() {
                    return false;
                }
            }
            true
        });
        self.counts.add("segments rolled", usize::from(log.shelf.extended() > before));
        self.last_block = sent.iter().map(|(slot, _, group)| (*slot, group.version)).collect();
        for (slot, writer, group) in sent {
            self.take_outcome(log, slot, &writer, group);
        }
    }

    /// The next group of a partition: a barrier if it has no writer yet.
    fn next_group(&mut self, log: &mut Opened, slot: u32) -> Option<Group> {
        let model = self.models.get_mut(&slot).unwrap();
        let now = self.clock.now();
        if !log.writers.contains_key(&slot) {
            let found = log.shelf.slot(slot)?;
            model.epoch = model.epoch.max(found.state().epoch.0) + 1;
            let preparation = found.prepare();
            log.writers.insert(slot, Arc::new(WriterState::new(found, preparation)));
            log.sequences.insert(slot, 0);
            return Some(control::barrier_group(Epoch(model.epoch), now, 300, 1));
        }
        let sequence = log.sequences.get_mut(&slot).unwrap();
        *sequence += 1;
        let version = Version::new(Epoch(model.epoch), Sequence(*sequence));
        let mut records = Vec::new();
        for _ in 0..=self.random.below(3) {
            self.value += 1;
            let key = Key::copy_from(format!("key {}", self.random.below(6)).as_bytes());
            let bytes =
                format!("{}{}", self.value, "v".repeat(usize::try_from(self.random.below(200)).unwrap()));
            records.push(Record::new(key, (!self.random.once_in(5)).then(|| bytes.into())));
        }
        let mut attributes = Attributes::default();
        if self.random.once_in(3) {
            let id = RequestId { client: u128::from(slot), sequence: self.value, issued: None };
            attributes.request = Some(Request { id, hash: self.value, result: "done".into() });
        }
        if self.random.once_in(3) {
            attributes.positions = vec![InputPosition { input: "in".into(), offset: Offset(self.value) }];
        }
        Some(Group { version, time: now, attributes, records })
    }

    fn take_outcome(&mut self, log: &mut Opened, slot: u32, writer: &WriterState, group: Group) {
        let ack = writer.acks().pop();
        let ack = ack.unwrap_or_else(|| panic!("no outcome for {} of slot {slot}", group.version));
        assert_eq!(ack.sequence, group.version.sequence, "outcomes in order");
        let fate = match ack.outcome {
            Outcome::Appended { first, next } => {
                assert_eq!(next, first.advance(group.records.len() as u64));
                Fate::Acknowledged(first)
            }
            Outcome::Unknown => Fate::Open,
            Outcome::Refused | Outcome::Fenced => Fate::Never,
        };
        self.counts.add("unknown outcomes", usize::from(ack.outcome == Outcome::Unknown));
        self.counts.add("refusals by a full disk", usize::from(ack.outcome == Outcome::Refused));
        if !matches!(fate, Fate::Acknowledged(_)) {
            // The owner takes over again, under a new epoch.
            log.writers.remove(&slot);
        }
        self.models.get_mut(&slot).unwrap().groups.push((group, fate));
    }

    /// Reads every partition and holds it against the model; `lenient` allows the last block to be gone.
    fn verify(&mut self, log: &Opened, lenient: bool) -> Result<(), Error> {
        for slot in 0..SLOTS {
            let found = read_all(log, slot)?;
            let (start, end) = bounds(&log.shelf.slot(slot).unwrap());
            let now = self.clock.now();
            let last_block = self.last_block.clone();
            let model = self.models.get_mut(&slot).unwrap();
            if lenient {
                for (group, fate) in &mut model.groups {
                    if last_block.contains(&(slot, group.version)) {
                        *fate = Fate::Open;
                    }
                }
            }
            model.settle(&found);
            assert!(lenient || model.end() == end, "slot {slot} ends at {end}, not at {}", model.end());
            match slot / PARTITIONS {
                0 => model.check(&found, now),
                1 => model.check_kept(&found, Offset::ZERO),
                _ => model.check_retained(&found, start, now),
            }
        }
        Ok(())
    }
}

/// A group as it was read.
struct Found {
    version: Version,
    base: Offset,
    count: u16,
    attributes: Attributes,
    records: Vec<(u16, Vec<u8>, Option<Vec<u8>>)>,
}

impl Found {
    fn of(group: GroupRef<'_>) -> Found {
        let records = group.records().map(|r| (r.index(), r.key().to_vec(), r.value().map(<[u8]>::to_vec)));
        Found {
            version: group.version(),
            base: group.base(),
            count: group.count(),
            attributes: group.attributes().expect("attributes that were written"),
            records: records.collect(),
        }
    }
}

impl Model {
    /// What was open is decided now.
    fn settle(&mut self, found: &[Found]) {
        for (group, fate) in &mut self.groups {
            if *fate == Fate::Open {
                let landed = found.iter().find(|f| f.version == group.version);
                *fate = landed.map_or(Fate::Never, |f| Fate::Acknowledged(f.base));
            }
        }
        self.groups.retain(|(_, fate)| *fate != Fate::Never);
    }

    /// Offset behind the newest group.
    fn end(&self) -> Offset {
        match self.groups.last() {
            Some((group, Fate::Acknowledged(base))) => base.advance(group.records.len() as u64),
            _ => Offset::ZERO,
        }
    }

    /// What is there is what was written, and in order.
    fn check_order(&self, found: &[Found]) {
        let mut end = Offset::ZERO;
        for group in found {
            assert!(group.base >= end, "offsets rise: {} after {end}", group.base);
            end = group.base.advance(u64::from(group.count));
            self.check_content(group);
        }
    }

    /// All groups from `start` on are there, whole.
    fn check_kept(&self, found: &[Found], start: Offset) {
        self.check_order(found);
        for (group, fate) in &self.groups {
            let Fate::Acknowledged(base) = *fate else { unreachable!("settled") };
            if base < start {
                continue;
            }
            let there = found.iter().find(|f| f.version == group.version);
            let there = there.unwrap_or_else(|| panic!("acknowledged group {} is lost", group.version));
            assert_eq!(there.base, base);
            assert_eq!(there.records.len(), group.records.len(), "group {} is whole", group.version);
        }
    }

    /// Only what is old enough is gone.
    fn check_retained(&self, found: &[Found], start: Offset, now: EventTime) {
        self.check_kept(found, start);
        for (group, fate) in &self.groups {
            let Fate::Acknowledged(base) = *fate else { unreachable!("settled") };
            let old = group.time < now.minus_ms(KEEP_MS);
            assert!(base >= start || old, "group {} is gone before its time", group.version);
        }
    }

    fn check(&self, found: &[Found], now: EventTime) {
        self.check_order(found);
        let newest = self.groups.last().map(|(group, _)| group.version);
        assert_eq!(found.last().map(|f| f.version), newest, "the newest group is there");
        for (at, (group, fate)) in self.groups.iter().enumerate() {
            let Fate::Acknowledged(_) = *fate else { unreachable!("settled") };
            let there = found.iter().find(|f| f.version == group.version);
            let remembered = now <= group.time.plus_ms(WINDOW_MS);
            if group.attributes.request.is_some() && remembered {
                let there = there.unwrap_or_else(|| panic!("the request of {} is forgotten", group.version));
                assert_eq!(there.attributes.request, group.attributes.request);
            }
            for (index, record) in group.records.iter().enumerate() {
                let later_in_group = group.records[index + 1..].iter().any(|r| r.key == record.key);
                let mut later = self.groups[at + 1..].iter().flat_map(|(g, _)| &g.records);
                let superseded = later_in_group || later.any(|r| r.key == record.key);
                let forgotten = record.value.is_none() && now > group.time.plus_ms(RETENTION_MS);
                let kept = there.is_some_and(|f| f.records.iter().any(|(i, ..)| usize::from(*i) == index));
                assert!(kept || superseded || forgotten, "record {index} of group {} is lost", group.version);
            }
        }
    }

    /// Everything read is what was written, where it was written.
    fn check_content(&self, found: &Found) {
        let written = self.groups.iter().find(|(group, _)| group.version == found.version);
        let Some((group, Fate::Acknowledged(base))) = written else {
            panic!("group {} was never acknowledged and was not open", found.version)
        };
        assert_eq!(*base, found.base, "group {} is where it was", found.version);
        assert_eq!(usize::from(found.count), group.records.len());
        for (index, key, value) in &found.records {
            let record = &group.records[usize::from(*index)];
            assert_eq!(key, &record.key.to_vec(), "a key of group {}", found.version);
            assert_eq!(value.as_deref(), record.value.as_deref(), "a value of group {}", found.version);
        }
        let newest = self.groups.last().is_some_and(|(last, _)| last.version == found.version);
        assert!(!newest || found.attributes == group.attributes, "attributes of the newest group");
    }
}

fn create(shelf: &Shelf, name: &str, cleanup: Cleanup, number: usize) -> Result<(), Error> {
    if shelf.manifest().topic(name).is_some() {
        return Ok(());
    }
    let spec = TopicSpec { partitions: PARTITIONS, cleanup };
    let topic = Topic { id: TopicId(number as u128), name: name.into(), spec };
    let entry = TopicEntry { topic, first_slot: u32::try_from(number).unwrap() * PARTITIONS };
    let added = shelf.change(
        |manifest| {
            manifest.next_slot += PARTITIONS;
            manifest.topics.push(entry.clone());
        },
        |_, ()| recovery::add_topic(shelf, &entry, |_| SlotState::default()),
    );
    added.map_err(|error| Error::new(ErrorKind::Unavailable, error))
}

fn bounds(slot: &Slot) -> (Offset, Offset) {
    let state = slot.state();
    (state.start, state.end)
}

fn read_all(log: &Opened, number: u32) -> Result<Vec<Found>, Error> {
    let slot = log.shelf.slot(number).unwrap();
    let place = TopicPartition::new("any", PartitionId(number));
    let (start, end) = bounds(&slot);
    let mut tail = EmbeddedTail::new(Arc::clone(&log.shelf), slot, start);
    let mut found = Vec::new();
    let mut next = start;
    while next < end {
        let Poll::Ready(batch) = tail.poll_batch(&mut Context::from_waker(Waker::noop())) else {
            panic!("{place}: the reader waits at {next}, before the end {end}");
        };
        let batch = batch?;
        assert!(batch.next() > next, "a batch brings the reader on");
        next = batch.next();
        found.extend(batch.groups().map(Found::of));
    }
    Ok(found)
}

/// Opens, works, crashes and verifies, some times over.
fn run(seed: u64) -> Counts {
    let mut run = Run::new(seed);
    for round in 0..4 {
        if round < 3 {
            let calls = if run.random.once_in(2) { 60 } else { 900 };
            let at = run.random.below(calls);
            run.disk.crash_in(at);
        }
        match run.open() {
            Ok(mut log) => {
                if run.disk.crashed() {
                    // Recovery may have ended in the very last call: nothing can be read any more.
                } else if let Err(error) = run.verify(&log, false) {
                    assert!(run.disk.crashed(), "reading: {error}");
                }
                let steps = 10 + run.random.below(70);
                run.work(&mut log, steps);
                if !run.disk.crashed() && run.random.once_in(3) {
                    drop(log.committer.finish());
                }
            }
            Err(error) => assert!(run.disk.crashed(), "opening: {error}"),
        }
        run.disk.restart();
    }
    let log = run.open().unwrap_or_else(|error| panic!("opening at last: {error}"));
    run.verify(&log, false).unwrap_or_else(|error| panic!("reading at last: {error}"));
    drop(log);
    if seed.is_multiple_of(4) {
        flip(&mut run);
    }
    run.counts
}

/// One flipped bit anywhere is an error that names the file, or harmless; it never changes or takes what was acknowledged,
/// but for the last block of a journal that has no end, which nobody can tell from a torn one.
fn flip(run: &mut Run) {
    run.disk.restart();
    let mut log = run.open().unwrap_or_else(|error| panic!("opening before the flip: {error}"));
    run.work(&mut log, 20);
    drop(log);
    run.disk.restart();
    let before = run.open().unwrap_or_else(|error| panic!("opening: {error}"));
    run.verify(&before, false).unwrap_or_else(|error| panic!("reading: {error}"));
    drop(before);
    let mut random = Random(run.seed);
    let Some((name, at)) = run.disk.flip(&mut random) else { return };
    let seen = run.open().and_then(|log| run.verify(&log, true));
    if let Err(error) = seen {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "a bit of {name} flipped at {at}: {error}");
        run.counts.add("damage refused", 1);
    }
}

/// The first seeds that fail, and what has happened until then.
fn failing_seeds(seeds: std::ops::Range<u64>) -> (Vec<(u64, String)>, Counts) {
    let (mut failing, mut counts) = (Vec::new(), Counts::default());
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(more) => counts = counts.merge(more),
            Err(failure) => {
                let text = failure.downcast_ref::<String>().cloned();
                failing.push((seed, text.unwrap_or_else(|| "a panic without a text".into())));
            }
        }
        if failing.len() == 3 {
            break;
        }
    }
    (failing, counts)
}

#[test]
fn every_acknowledged_group_outlives_every_crash() {
    let workers = 2;
    let (failing, counts) = std::thread::scope(|scope| {
        let part = |i| scope.spawn(move || failing_seeds(i * SEEDS / workers..(i + 1) * SEEDS / workers));
        let handles: Vec<_> = (0..workers).map(part).collect();
        let parts = handles.into_iter().map(|handle| handle.join().unwrap());
        parts.fold((Vec::new(), Counts::default()), |(failing, counts), (more, others)| {
            ([failing, more].concat(), counts.merge(others))
        })
    });
    assert!(failing.is_empty(), "failing seeds: {failing:#?}");
    println!("{counts:#?}");
    for what in Counts::ALL {
        let count = counts.0.get(what).copied().unwrap_or(0);
        assert!(count >= SEEDS / 20, "{SEEDS} seeds have brought {count} {what}");
    }
}

/// Without any one of its protections the log must fail this very test.
#[test]
fn the_crashes_find_a_missing_protection() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = [Protection::Checksum, Protection::Salt, Protection::TailRule, Protection::SyncBeforeAck]
        .map(|p| {
            let (failing, _) = with_removed(Some(p), || failing_seeds(0..3_000));
            (p, failing.first().map(|(seed, _)| *seed))
        });
    std::panic::set_hook(quiet);
    assert!(found.iter().all(|(_, seed)| seed.is_some()), "not found: {found:?}");
}

#[test]
fn one_seed() {
    if let Some(seed) = std::env::var("AFFINITY_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{:#?}", run(seed));
    }
}
