//! What tests and simulations do to the log. All of it is a step that is over when the call returns.

use affinity_types::{Epoch, EventTime, Group, Key, Offset};
use bytes::Bytes;

use super::channel::{Channel, ChannelId, ChannelView, Fault};
use super::cleanup::Compaction;
use super::mapping::{self, KafkaRecord};
use super::{Delivery, MemoryLog};
use crate::{Bounds, Cleanup, Error, TopicPartition};

/// The network.
impl MemoryLog {
    /// Whether groups and outcomes travel at once or by hand from now on. Going over to automatic brings home all that
    /// writers wait for, channel by channel in the order in which they were opened; what a writer has lost sight of, or
    /// left behind when it was dropped, stays on the way.
    pub fn deliver(&self, delivery: Delivery) {
        self.shared.with(|state| {
            state.delivery = delivery;
            if delivery == Delivery::Automatic {
                for id in state.channels_of(Channel::waits) {
                    state.land(id, usize::MAX);
                }
                for id in state.channels_of(|_| true) {
                    state.tell(id, usize::MAX);
                }
            }
        });
    }

    /// The channels that lead to a partition, in the order in which their writers were opened: of every writer that
    /// lives, and of every dropped one that has groups on the way.
    #[must_use]
    pub fn channels(&self, place: &TopicPartition) -> Vec<ChannelId> {
        self.shared.with(|state| state.channels_of(|channel| channel.place == *place))
    }

    /// What a channel holds, if it is one of those.
    #[must_use]
    pub fn channel(&self, id: ChannelId) -> Option<ChannelView> {
        self.shared.with(|state| state.channels.get(&id).map(|channel| channel.view(id)))
    }

    /// Lets up to `n` groups on the way reach the log. Answers how many are in the log then: fewer if fewer were on the
    /// way, or if one was fenced or met a [`Fault`].
    pub fn land(&self, id: ChannelId, n: usize) -> usize {
        self.shared.with(|state| state.land(id, n))
    }

    /// Tells the writer up to `n` outcomes that are decided, in order. Answers how many.
    pub fn acknowledge(&self, id: ChannelId, n: usize) -> usize {
        self.shared.with(|state| state.tell(id, n))
    }

    /// The next group of the channel that would reach the log meets `fault`: the first on the way, else the next that is
    /// appended.
    pub fn inject(&self, id: ChannelId, fault: Fault) {
        self.shared.with(|state| state.on_channel(id, |channel| channel.fault = Some(fault)));
    }

    /// The writer gives up waiting: the outcome of all that it was not told is unknown, whether landed or on the way.
    /// What is on the way stays there.
    pub fn lose(&self, id: ChannelId) {
        self.shared.with(|state| state.on_channel(id, Channel::lose));
    }

    /// What a writer that was dropped or has lost sight of its groups left on the way never lands. Answers how many
    /// groups that were; none for a writer that still waits for them, which would wait for ever.
    pub fn discard(&self, id: ChannelId) -> usize {
        self.shared.with(|state| {
            state.on_channel(id, |channel| {
                if channel.waits() { 0 } else { std::iter::from_fn(|| channel.take_next()).count() }
            })
        })
    }
}

/// Others.
impl MemoryLog {
    /// A program that knows nothing of us appends a record.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn stranger(
        &self,
        place: &TopicPartition,
        time: EventTime,
        key: Key,
        value: Option<Bytes>,
    ) -> Result<Offset, Error> {
        self.append_raw(
            place,
            Epoch::NONE,
            vec![KafkaRecord { time, key: key.into_bytes(), value, header: None }],
        )
    }

    /// A writer that no fence holds appends a group, whatever its epoch and sequence.
    ///
    /// # Errors
    /// `NotFound`.
    ///
    /// # Panics
    /// If the group has more records than a group may have.
    pub fn zombie(&self, place: &TopicPartition, group: &Group) -> Result<Offset, Error> {
        self.append_raw(place, group.version.epoch, mapping::encode(group))
    }

    /// Somebody appends a record whose header is these bytes: a newer version of us, or one gone mad.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn forge(
        &self,
        place: &TopicPartition,
        time: EventTime,
        key: Key,
        header: Bytes,
    ) -> Result<Offset, Error> {
        let record = KafkaRecord { time, key: key.into_bytes(), value: None, header: Some(header) };
        self.append_raw(place, Epoch::NONE, vec![record])
    }

    fn append_raw(
        &self,
        place: &TopicPartition,
        epoch: Epoch,
        records: Vec<KafkaRecord>,
    ) -> Result<Offset, Error> {
        self.shared.with(|state| {
            let range = state.partition(place)?.1.append_unfenced(epoch, records);
            state.wake_readers(place);
            Ok(range.start)
        })
    }
}

/// The broker.
impl MemoryLog {
    /// Compacts a partition below `up_to`, at the time `now`: of each key the record with the highest offset stays,
    /// whatever its epoch. It stays away from the newest record, and from all behind the first one that is younger than
    /// the lag. A deletion is forgotten when it is older than the topic's `delete_retention` and an earlier compaction
    /// has left it. Answers how many records went; none for a topic that is not compacted.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn compact(&self, place: &TopicPartition, up_to: Offset, now: EventTime) -> Result<usize, Error> {
        let lag = self.shared.options.compaction_lag;
        self.on_topic(place, |cleanup, partition| match *cleanup {
            Cleanup::Compact { delete_retention, request_window } => {
                partition.compact(&Compaction { up_to, now, lag: lag.max(request_window), delete_retention })
            }
            Cleanup::Delete { .. } => 0,
        })
    }

    /// Forgets of a topic with retention what is too old at the time `now`, or too much. Answers how many records went;
    /// none for another topic.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn retain(&self, place: &TopicPartition, now: EventTime) -> Result<usize, Error> {
        self.on_topic(place, |cleanup, partition| match *cleanup {
            Cleanup::Delete { retention, retention_bytes } => {
                let oldest = retention.map(|retention| now.minus_ms(crate::contract::millis(retention)));
                partition.retain(oldest, retention_bytes)
            }
            Cleanup::Compact { .. } => 0,
        })
    }

    /// A broker that has lost its leadership and does not know it: [`bounds`](crate::Log::bounds) of the partition answers
    /// what it holds now until [`true_bounds`](MemoryLog::true_bounds).
    ///
    /// # Errors
    /// `NotFound`.
    pub fn stale_bounds(&self, place: &TopicPartition) -> Result<Bounds, Error> {
        self.on_topic(place, |_, partition| {
            let bounds = partition.bounds();
            partition.stale = Some(bounds);
            bounds
        })
    }

    /// Bounds are true again.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn true_bounds(&self, place: &TopicPartition) -> Result<Bounds, Error> {
        self.on_topic(place, |_, partition| {
            partition.stale = None;
            partition.bounds()
        })
    }

    fn on_topic<T>(
        &self,
        place: &TopicPartition,
        act: impl FnOnce(&Cleanup, &mut super::partition::Partition) -> T,
    ) -> Result<T, Error> {
        self.shared.with(|state| {
            let cleanup =
                state.topic(&place.topic).map(|topic| topic.spec.cleanup.clone()).unwrap_or_default();
            Ok(act(&cleanup, state.partition(place)?.1))
        })
    }
}
