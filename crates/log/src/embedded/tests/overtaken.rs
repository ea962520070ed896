//! A newer writer fences an older one only if its barrier comes into the log.

use std::sync::Arc;

use affinity_types::{Clock, Epoch, EventTime, Group, Key, ManualClock, Record, Sequence, Version, control};

use super::sim_disk::SimDisk;
use crate::embedded::options::EmbeddedOptions;
use crate::embedded::queue::Gathered;
use crate::embedded::recovery;
use crate::embedded::slot::SlotState;
use crate::embedded::writer::WriterState;
use crate::{Cleanup, Outcome, Topic, TopicSpec};

fn put(sequence: u64) -> Group {
    let records = vec![Record::new(Key::from_static(b"k"), None)];
    let version = Version::new(Epoch(1), Sequence(sequence));
    Group { version, time: EventTime(0), attributes: affinity_types::Attributes::default(), records }
}

/// The older writer's last group waits behind the newer one's barrier in one block; what becomes of the three?
fn outcomes(sync_failures: u64) -> Vec<Outcome> {
    let disk = SimDisk::new(7);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let options = EmbeddedOptions { segment_bytes: 64 << 10, ..EmbeddedOptions::default() };
    let (shelf, mut committer, _) = recovery::open(Arc::new(disk.clone()), clock, options).unwrap();
    let spec = TopicSpec { partitions: 1, cleanup: Cleanup::default() };
    let topic = Topic { id: affinity_types::TopicId(1), name: "t".into(), spec };
    let entry = crate::embedded::manifest::TopicEntry { topic, first_slot: 0 };
    recovery::add_topic(&shelf, &entry, |_| SlotState::default());
    let slot = shelf.slot(0).unwrap();
    let writer = || Arc::new(WriterState::new(Arc::clone(&slot), slot.prepare()));
    let (older, newer) = (writer(), writer());

    let mut gathered = Gathered::default();
    gathered.push(&older, &control::barrier_group(Epoch(1), EventTime(0), 1, 1), 1 << 16).unwrap();
    committer.commit(&mut gathered, &mut || true);
    older.acks().pop().unwrap();
    disk.set_sync_failures(sync_failures);
    for (writer, group) in
        [(&older, put(1)), (&newer, control::barrier_group(Epoch(2), EventTime(0), 1, 1)), (&older, put(2))]
    {
        gathered.push(writer, &group, 1 << 16).unwrap();
    }
    committer.commit(&mut gathered, &mut || true);
    [&older, &newer, &older].map(|writer| writer.acks().pop().unwrap().outcome).into()
}

#[test]
fn the_barrier_fences_what_comes_behind_it() {
    let [first, barrier, behind] = outcomes(0)[..] else { panic!("three outcomes") };
    assert!(matches!((first, barrier), (Outcome::Appended { .. }, Outcome::Appended { .. })));
    assert_eq!(behind, Outcome::Fenced);
}

#[test]
fn a_barrier_whose_block_fails_fences_nobody() {
    assert_eq!(outcomes(1000), [Outcome::Unknown; 3]);
}
