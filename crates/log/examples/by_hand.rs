//! The changelog by hand: read a partition, take it over, append a group. Run it twice:
//! `cargo run -p affinity-log --example by_hand`

use std::sync::Arc;

use affinity_log::embedded::{EmbeddedLog, EmbeddedOptions};
use affinity_log::{Cleanup, Error, Log, TopicPartition, TopicSpec, next_ack, next_batch};
use affinity_types::{
    Attributes, Clock, Epoch, Group, Key, Offset, Record, Sequence, SystemClock, Version, control,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let clock = Arc::new(SystemClock);
    let folder = std::env::temp_dir().join("affinity-by-hand");
    let log = EmbeddedLog::open(&folder, EmbeddedOptions::default(), clock.clone())?;
    log.create_topic("accounts", TopicSpec { partitions: 16, cleanup: Cleanup::default() }).await?;

    // Kafka's default partitioner says where a key lives.
    let key = Key::from_static(b"alice");
    let place = TopicPartition::new("accounts", key.partition(16));

    // A reader is given whole groups, and waits at the end for more.
    let end = log.bounds(&place).await?.end;
    let mut tail = log.tail(&place, Offset::ZERO).await?;
    let (mut next, mut epoch) = (Offset::ZERO, Epoch::NONE);
    while next < end {
        let batch = next_batch(&mut *tail).await?;
        for group in batch.groups() {
            println!(
                "group {} at offset {}: {} records",
                group.version(),
                group.base(),
                group.records().len()
            );
            epoch = epoch.max(group.version().epoch);
        }
        next = batch.next();
    }

    // A writer fences all that were prepared before it; its first group is the barrier of its epoch.
    let epoch = epoch.next();
    let mut writer = log.prepare(&place).await?.open(epoch).await?;
    writer.append(&control::barrier_group(epoch, clock.now(), 300, 1))?;
    let version = Version::new(epoch, Sequence(1));
    let records = vec![Record::new(key, Some("7".into()))];
    writer.append(&Group { version, time: clock.now(), attributes: Attributes::default(), records })?;

    // Outcomes come in the order of the appends; `Appended` means durable.
    for what in ["barrier", "group"] {
        println!("{what}: {:?}", next_ack(&mut *writer).await.outcome);
    }
    Ok(())
}
