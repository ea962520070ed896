//! The two steps of taking over.

use std::cmp::Ordering;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use affinity_types::{Epoch, Group, TopicId};

use super::Fencing;
use super::channel::{Channel, ChannelId, Token};
use super::state::Shared;
use crate::{Ack, AppendError, BoxFuture, Error, ErrorKind, Newest, Prepared, TopicPartition, Writer};

pub(super) struct MemoryPrepared {
    pub(super) shared: Arc<Shared>,
    pub(super) place: TopicPartition,
    pub(super) topic: TopicId,
    pub(super) token: Token,
}

impl Prepared for MemoryPrepared {
    fn open(self: Box<Self>, epoch: Epoch) -> BoxFuture<'static, Result<Box<dyn Writer>, Error>> {
        let MemoryPrepared { shared, place, topic, token } = *self;
        let fencing = shared.options.fencing;
        let opened = shared.with(|state| {
            let there = state.partition_of(&place, topic);
            let known = fencing == Fencing::Known;
            if !there.is_some_and(|partition| !known || partition.admits(token, epoch, fencing)) {
                let message = format!("{place}: epoch {epoch} is not its newest, or the topic is gone");
                return Err(Error::new(ErrorKind::Fenced, message));
            }
            Ok(state.open(Channel::new(place.clone(), topic, token, epoch)))
        });
        let writer = |channel| MemoryWriter { shared, channel, place, topic, token, epoch };
        Box::pin(ready(opened.map(|channel| Box::new(writer(channel)) as Box<dyn Writer>)))
    }
}

struct MemoryWriter {
    shared: Arc<Shared>,
    channel: ChannelId,
    place: TopicPartition,
    topic: TopicId,
    token: Token,
    epoch: Epoch,
}

impl MemoryWriter {
    fn on_channel<T>(&self, act: impl FnOnce(&mut Channel) -> T) -> T {
        self.shared.with(|state| act(state.channels.get_mut(&self.channel).expect("it stays as long as we")))
    }
}

impl Writer for MemoryWriter {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn append(&mut self, group: &Group) -> Result<(), AppendError> {
        self.shared.with(|state| state.append(self.channel, group))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AppendError>> {
        let max = self.shared.options.limits.in_flight_max;
        self.on_channel(|channel| channel.poll_ready(cx, max)).0
    }

    fn poll_ack(&mut self, cx: &mut Context<'_>) -> Poll<Ack> {
        let (ack, waker) = self.on_channel(|channel| channel.poll_ack(cx));
        if let Some(waker) = waker.filter(|_| ack.is_ready()) {
            waker.wake();
        }
        ack
    }

    fn in_flight(&self) -> usize {
        self.on_channel(|channel| channel.in_flight())
    }

    /// Before the writer's own barrier has landed the answer is not known, for it has not taken the partition.
    fn newest(&self) -> Newest {
        if self.shared.options.fencing != Fencing::Known {
            return Newest::Unknown;
        }
        self.shared.with(|state| {
            let there = state.partition_of(&self.place, self.topic);
            match there.map(|partition| partition.newest().cmp(&self.token)) {
                Some(Ordering::Equal) => Newest::Yes,
                Some(Ordering::Less) => Newest::Unknown,
                Some(Ordering::Greater) | None => Newest::No,
            }
        })
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.shared.with(|state| state.on_channel(self.channel, Channel::abandon));
    }
}
