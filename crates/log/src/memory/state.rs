//! All that a memory log holds, behind one lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use affinity_types::{Epoch, Group, Offset, TopicId};

use super::channel::{Channel, ChannelId, Fault, Token};
use super::partition::Partition;
use super::{Delivery, MemoryOptions};
use crate::{AppendError, Error, ErrorKind, Outcome, Topic, TopicPartition, TopicSpec};

/// The lock, which wakes whom the last change concerns after it is released.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: MemoryOptions,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new(options: MemoryOptions) -> Shared {
        Shared { options, state: Mutex::new(State::new(options)) }
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let (answer, wakers) = {
            // A panic under the lock is a bug that a test is about to show; the destructors it runs must not hide it.
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = act(&mut state);
            (answer, std::mem::take(&mut state.wakers))
        };
        for waker in wakers {
            waker.wake();
        }
        answer
    }
}

/// A topic and its partitions.
#[derive(Debug)]
struct Shelf {
    topic: Topic,
    partitions: Vec<Partition>,
}

/// See the module. The maps are ordered, so that everything that goes over them goes the same way every time.
#[derive(Debug)]
pub(super) struct State {
    options: MemoryOptions,
    topics: BTreeMap<Arc<str>, Shelf>,
    pub(super) channels: BTreeMap<ChannelId, Channel>,
    pub(super) delivery: Delivery,
    topics_created: u64,
    channels_opened: u64,
    readers_opened: u64,
    wakers: Vec<Waker>,
}

impl State {
    fn new(options: MemoryOptions) -> State {
        State {
            options,
            topics: BTreeMap::new(),
            channels: BTreeMap::new(),
            delivery: options.delivery,
            topics_created: 0,
            channels_opened: 0,
            readers_opened: 0,
            wakers: Vec::new(),
        }
    }

    pub(super) fn create(&mut self, name: &str, spec: TopicSpec) -> Result<Topic, Error> {
        Topic::validate(name, &spec)?;
        if let Some(shelf) = self.topics.get(name) {
            if shelf.topic.spec == spec {
                return Ok(shelf.topic.clone());
            }
            let message = format!("topic {name} is there, but not as it is asked for");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let name: Arc<str> = name.into();
        let partitions = (0..spec.partitions).map(|_| Partition::default()).collect();
        let topic = Topic { id: identity(self.topics_created), name: Arc::clone(&name), spec };
        self.topics_created += 1;
        self.topics.insert(name, Shelf { topic: topic.clone(), partitions });
        Ok(topic)
    }

    pub(super) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name).map(|shelf| &shelf.topic)
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), Error> {
        let shelf = self.topics.remove(name).ok_or_else(|| not_found(&name))?;
        for partition in shelf.partitions {
            self.wakers.extend(partition.waiting.into_values());
        }
        let automatic = self.delivery == Delivery::Automatic;
        let of_it: Vec<ChannelId> = self.channels_of(|channel| channel.topic == shelf.topic.id);
        for id in of_it {
            self.on_channel(id, |channel| channel.discard(Outcome::Fenced));
            if automatic {
                self.tell(id, usize::MAX);
            }
        }
        Ok(())
    }

    /// The partition at `place`, and its topic's identity.
    pub(super) fn partition(&mut self, place: &TopicPartition) -> Result<(TopicId, &mut Partition), Error> {
        let shelf = self.topics.get_mut(&place.topic).ok_or_else(|| not_found(place))?;
        let partition =
            shelf.partitions.get_mut(place.partition.0 as usize).ok_or_else(|| not_found(place))?;
        Ok((shelf.topic.id, partition))
    }

    /// The same, if the topic is still the one of this identity.
    pub(super) fn partition_of(&mut self, place: &TopicPartition, topic: TopicId) -> Option<&mut Partition> {
        self.partition(place).ok().filter(|(id, _)| *id == topic).map(|(_, partition)| partition)
    }

    pub(super) fn new_reader(&mut self) -> u64 {
        self.readers_opened += 1;
        self.readers_opened
    }

    pub(super) fn open(&mut self, channel: Channel) -> ChannelId {
        let id = ChannelId(self.channels_opened);
        self.channels_opened += 1;
        self.channels.insert(id, channel);
        id
    }

    /// The channels that are `wanted`, in the order in which they were opened.
    pub(super) fn channels_of(&self, wanted: impl Fn(&Channel) -> bool) -> Vec<ChannelId> {
        self.channels.iter().filter(|(_, channel)| wanted(channel)).map(|(id, _)| *id).collect()
    }

    /// Changes a channel, wakes its writer, and forgets the channel when nothing can come of it any more.
    pub(super) fn on_channel<T: Default>(&mut self, id: ChannelId, act: impl FnOnce(&mut Channel) -> T) -> T {
        let Some(channel) = self.channels.get_mut(&id) else { return T::default() };
        let answer = act(channel);
        self.wakers.extend(channel.take_wakers());
        if channel.abandoned && !channel.has_next() {
            self.channels.remove(&id);
        }
        answer
    }

    /// A writer's append.
    pub(super) fn append(&mut self, id: ChannelId, group: &Group) -> Result<(), AppendError> {
        let channel = self.channels.get_mut(&id).expect("a writer's channel stays as long as the writer");
        channel.send(group, &self.options.limits)?;
        if self.delivery == Delivery::Automatic {
            self.land(id, 1);
            self.tell(id, usize::MAX);
        }
        Ok(())
    }

    /// Brings up to `n` groups of a channel to the log; answers how many landed in it.
    pub(super) fn land(&mut self, id: ChannelId, n: usize) -> usize {
        (0..n).take_while(|_| self.land_one(id)).count()
    }

    fn land_one(&mut self, id: ChannelId) -> bool {
        let fencing = self.options.fencing;
        let Some(channel) = self.channels.get(&id).filter(|channel| channel.has_next()) else { return false };
        let (place, topic, token, epoch) =
            (channel.place.clone(), channel.topic, channel.token, channel.epoch);
        let admitted =
            self.partition_of(&place, topic).is_some_and(|there| there.admits(token, epoch, fencing));
        let fault = self.on_channel(id, |channel| {
            let fault = channel.fault.take();
            match fault {
                _ if !admitted => _ = channel.discard(Outcome::Fenced),
                Some(Fault::Refuse) => _ = channel.discard(Outcome::Refused),
                Some(Fault::LoseAppend) => channel.lose(),
                Some(Fault::LoseAck) | None => {}
            }
            fault
        });
        if !admitted || matches!(fault, Some(Fault::Refuse | Fault::LoseAppend)) {
            return false;
        }
        self.place(id, &place, token, epoch);
        if fault == Some(Fault::LoseAck) {
            self.on_channel(id, Channel::lose);
        }
        true
    }

    /// Appends the next group of a channel that is admitted, and wakes the readers.
    fn place(&mut self, id: ChannelId, place: &TopicPartition, token: Token, epoch: Epoch) {
        let next = self.channels.get_mut(&id).and_then(Channel::take_next);
        let Some((sequence, records)) = next else { return };
        let Ok((_, partition)) = self.partition(place) else { return };
        let range = partition.append(token, epoch, records);
        self.wake_readers(place);
        self.on_channel(id, |channel| channel.landed(sequence, range));
    }

    pub(super) fn tell(&mut self, id: ChannelId, n: usize) -> usize {
        self.on_channel(id, |channel| channel.tell(n))
    }

    pub(super) fn wake_readers(&mut self, place: &TopicPartition) {
        let Ok((_, partition)) = self.partition(place) else { return };
        let waiting = std::mem::take(&mut partition.waiting);
        self.wakers.extend(waiting.into_values());
    }
}

pub(super) fn not_found(what: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no {what}"))
}

pub(super) fn out_of_range(place: &TopicPartition, at: Offset, start: Offset, end: Offset) -> Error {
    Error::new(ErrorKind::OutOfRange, format!("{place} holds offsets {start} to {end}: {at} cannot be read"))
}

/// The identity of the topic that was created as number `n`: looks random, and is the same in every run.
fn identity(n: u64) -> TopicId {
    let mix = |seed: u64| {
        // SplitMix64.
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    TopicId(u128::from(mix(2 * n + 1)) << 64 | u128::from(mix(2 * n + 2)))
}
