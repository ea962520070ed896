//! The log itself.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use affinity_types::{EventTime, Offset};

use super::state::{Shared, out_of_range};
use super::tail::MemoryTail;
use super::writer::MemoryPrepared;
use crate::{Bounds, BoxFuture, Error, Limits, Log, Prepared, Tail, Topic, TopicPartition, TopicSpec};

/// What a memory log does about two writers of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// Nothing: the late groups of a zombie land.
    Off,
    /// What Kafka does for our writer: a group is refused when it arrives after the first group of a later prepared
    /// writer. Before that the log tells nobody; [`newest`](crate::Writer::newest) is unknown.
    #[default]
    AtAppend,
    /// As [`AtAppend`](Fencing::AtAppend), and the log knows at once: `newest` answers, `open` refuses, and a lower epoch
    /// than one in the partition is refused.
    Known,
}

/// How groups and outcomes travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// At once.
    #[default]
    Automatic,
    /// When the test says so.
    Manual,
}

/// What a memory log is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOptions {
    /// What it takes: groups of 1 MiB and 1024 in flight for each writer.
    pub limits: Limits,
    /// What it does about two writers: refuses the older one's groups.
    pub fencing: Fencing,
    /// How it begins: automatic. See [`MemoryLog::deliver`].
    pub delivery: Delivery,
    /// Records younger than this, and all behind them, are not compacted (Kafka's `min.compaction.lag.ms`): 1 hour. A
    /// topic's request window takes its place where that is longer.
    pub compaction_lag: Duration,
    /// A batch is full with the group that reaches so many bytes: 1 MiB.
    pub batch_bytes: usize,
}

impl Default for MemoryOptions {
    fn default() -> MemoryOptions {
        MemoryOptions {
            limits: Limits { group_bytes_max: 1 << 20, in_flight_max: 1024 },
            fencing: Fencing::default(),
            delivery: Delivery::default(),
            compaction_lag: Duration::from_secs(3600),
            batch_bytes: 1 << 20,
        }
    }
}

/// A log in memory. A clone is another handle on the same log, as another process has it on a broker; the log lives as
/// long as one of its handles, writers or readers.
///
/// ```
/// use affinity_log::memory::{Delivery, Fault, MemoryLog};
/// use affinity_log::{Cleanup, Log, Outcome, TopicPartition, TopicSpec, next_ack};
/// use affinity_types::{Epoch, EventTime, PartitionId, control};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let log = MemoryLog::default();
/// log.create_topic("accounts", TopicSpec { partitions: 1, cleanup: Cleanup::default() }).await?;
/// let place = TopicPartition::new("accounts", PartitionId(0));
/// let mut writer = log.prepare(&place).await?.open(Epoch(1)).await?;
///
/// // The acknowledgement of the next group is lost; the group lands.
/// log.inject(log.channels(&place)[0], Fault::LoseAck);
/// writer.append(&control::barrier_group(Epoch(1), EventTime(0), 300, 1))?;
/// assert_eq!(next_ack(&mut *writer).await.outcome, Outcome::Unknown);
/// assert_eq!(log.bounds(&place).await?.end.0, 1);
/// # Ok::<(), affinity_log::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct MemoryLog {
    pub(super) shared: Arc<Shared>,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new(options: MemoryOptions) -> MemoryLog {
        MemoryLog { shared: Arc::new(Shared::new(options)) }
    }
}

impl Default for MemoryLog {
    fn default() -> MemoryLog {
        MemoryLog::new(MemoryOptions::default())
    }
}

impl Log for MemoryLog {
    fn create_topic<'a>(&'a self, name: &'a str, spec: TopicSpec) -> BoxFuture<'a, Result<Topic, Error>> {
        Box::pin(ready(self.shared.with(|state| state.create(name, spec))))
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Topic>, Error>> {
        Box::pin(ready(Ok(self.shared.with(|state| state.topic(name).cloned()))))
    }

    fn delete_topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(ready(self.shared.with(|state| state.delete(name))))
    }

    fn bounds<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, Error>> {
        Box::pin(ready(self.shared.with(|state| Ok(state.partition(place)?.1.bounds()))))
    }

    fn offset_at<'a>(
        &'a self,
        place: &'a TopicPartition,
        time: EventTime,
    ) -> BoxFuture<'a, Result<Option<Offset>, Error>> {
        Box::pin(ready(self.shared.with(|state| Ok(state.partition(place)?.1.offset_at(time)?))))
    }

    fn prepare<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, Result<Box<dyn Prepared>, Error>> {
        let prepare = || {
            let (topic, token) = self.shared.with(|state| {
                let (topic, partition) = state.partition(place)?;
                Ok::<_, Error>((topic, partition.prepare()))
            })?;
            let shared = Arc::clone(&self.shared);
            Ok(Box::new(MemoryPrepared { shared, place: place.clone(), topic, token }) as Box<dyn Prepared>)
        };
        Box::pin(ready(prepare()))
    }

    fn tail<'a>(
        &'a self,
        place: &'a TopicPartition,
        from: Offset,
    ) -> BoxFuture<'a, Result<Box<dyn Tail>, Error>> {
        let tail = || {
            let (topic, id) = self.shared.with(|state| {
                let (topic, partition) = state.partition(place)?;
                if from < partition.start || from > partition.end {
                    return Err(out_of_range(place, from, partition.start, partition.end));
                }
                Ok((topic, state.new_reader()))
            })?;
            let (shared, place) = (Arc::clone(&self.shared), place.clone());
            Ok(Box::new(MemoryTail { shared, place, topic, id, next: from }) as Box<dyn Tail>)
        };
        Box::pin(ready(tail()))
    }

    fn limits(&self) -> Limits {
        self.shared.options.limits
    }
}
